import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, colours } from '../harness/meeting.mjs';

const on = stage();

test('content share is an attendee of its own, beside the camera', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run((colour) => window.person.camera(colour), colours.ann);
  await ann.run((colour) => window.person.share(colour), 'blue');
  await ann.until('contentShareDidStart', () => window.person.count('shareStart') > 0);
  await ben.until('the content in the roster', (id) => window.person.present[id], `${ann.id}#content`);
  const users = await ben.run((id) => window.person.log.filter((e) => e.name === 'presence' && e.detail.id === id).map((e) => e.detail.user), `${ann.id}#content`);
  assert.equal(users[0], 'ann');
  await ben.sees({ [ann.id]: colours.ann, [`${ann.id}#content`]: 'blue' });
  const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'));
  await cat.sees({ [ann.id]: colours.ann, [`${ann.id}#content`]: 'blue' });
  await ann.run(() => window.person.stopShare());
  await ann.until('contentShareDidStop', () => window.person.count('shareStop') > 0);
  await ben.sees({ [ann.id]: colours.ann });
  await ben.until('the content out of the roster', (id) => window.person.present[id] === false, `${ann.id}#content`);
  await ann.run((colour) => window.person.share(colour), 'yellow');
  await ben.sees({ [ann.id]: colours.ann, [`${ann.id}#content`]: 'yellow' });
});

test('the share ends with its owner', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run(() => window.person.share('blue'));
  await ben.sees({ [`${ann.id}#content`]: 'blue' });
  await ann.run(() => window.person.leave());
  await ben.until('both to be gone', (id) => window.person.present[id] === false && window.person.present[`${id}#content`] === false, ann.id);
  await ben.sees({});
});

test('a share ends when its owner joins elsewhere', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run(() => window.person.share('blue'));
  await ben.sees({ [`${ann.id}#content`]: 'blue' });
  const again = await on.browser.join(meeting, ann.attendee);
  await ann.until('contentShareDidStop', () => window.person.count('shareStop') > 0);
  await ben.sees({});
  await again.run(() => window.person.share('yellow'));
  await again.until('contentShareDidStart', () => window.person.count('shareStart') > 0);
  await ben.sees({ [`${ann.id}#content`]: 'yellow' });
});
