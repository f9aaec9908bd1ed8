import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, colours } from '../harness/meeting.mjs';

const on = stage({ env: { BELFRY_MAX_VIDEOS: '1', BELFRY_MAX_CONTENT_SHARES: '1' } });

test('a camera too many goes off, its owner stays, and can show it when there is room', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run((c) => window.person.camera(c), colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
  await ben.run((c) => window.person.camera(c), colours.ben);
  await ben.until('videoSendDidBecomeUnavailable', () => window.person.count('videoUnavailable') > 0);
  assert.equal(await ben.run(() => window.person.av.hasStartedLocalVideoTile()), false);
  await ann.sees({});
  await ben.sees({ [ann.id]: colours.ann });
  await ann.hears([tones.ben], everyTone);
  await ann.run(() => window.person.av.stopLocalVideoTile());
  await ben.sees({});
  await ben.run((c) => window.person.camera(c), 'blue');
  await ann.sees({ [ben.id]: 'blue' });
});

test('a content share too many ends, the other goes on', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run(() => window.person.share('blue'));
  await ben.sees({ [`${ann.id}#content`]: 'blue' });
  await ben.run(() => window.person.share('yellow'));
  await ben.until('contentShareDidStop', () => window.person.count('shareStop') > 0);
  await ben.sees({ [`${ann.id}#content`]: 'blue' });
  await ann.sees({ [`${ann.id}#content`]: 'blue' }); // her own, and no other
});
