import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, colours } from '../harness/meeting.mjs';

const on = stage();
const show = (person, colour) => person.run((c) => window.person.camera(c), colour);

test('who may not speak is not heard and shows as muted, until allowed again', async () => {
  const { meeting, ann, ben, cat } = await on.gather(['ann', 'ben', 'cat']);
  await ben.hears([tones.ann, tones.cat], everyTone);
  await on.server.allow(meeting, ann.attendee, { Audio: 'Receive' });
  await ben.until('ann to show as muted', (id) => window.person.muted[id] === true, ann.id);
  await ben.hears([tones.cat], everyTone);
  await ann.hears([tones.ben, tones.cat], everyTone);
  await on.server.allow(meeting, ann.attendee);
  await ben.until('ann to show as not muted', (id) => window.person.muted[id] === false, ann.id);
  await ben.hears([tones.ann, tones.cat], everyTone);
  await cat.hears([tones.ann, tones.ben], everyTone);
});

test('who may not listen hears nothing, until allowed again', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await ben.hears([tones.ann], everyTone);
  await on.server.allow(meeting, ben.attendee, { Audio: 'Send' });
  await ben.hears([], everyTone);
  await ann.hears([tones.ben], everyTone);
  await on.server.allow(meeting, ben.attendee);
  await ben.hears([tones.ann], everyTone);
});

test('a camera goes when it may not be shown, and can be shown again when it may', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, colours.ann);
  await show(ben, colours.ben);
  await ben.sees({ [ann.id]: colours.ann });
  await on.server.allow(meeting, ann.attendee, { Video: 'Receive' });
  await ann.until('videoSendDidBecomeUnavailable', () => window.person.count('videoUnavailable') > 0);
  await ben.sees({});
  await ann.sees({ [ben.id]: colours.ben });
  assert.equal(await ann.run(() => window.person.av.hasStartedLocalVideoTile()), false);
  await on.server.allow(meeting, ann.attendee);
  await show(ann, 'blue');
  await ben.sees({ [ann.id]: 'blue' });
});

test('who may not see has no tiles, until allowed again', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, colours.ann);
  await show(ben, colours.ben);
  await ben.sees({ [ann.id]: colours.ann });
  await on.server.allow(meeting, ben.attendee, { Video: 'Send', Content: 'Send' });
  await ben.sees({});
  await ann.sees({ [ben.id]: colours.ben });
  await on.server.allow(meeting, ben.attendee);
  await ben.sees({ [ann.id]: colours.ann });
});

test('a share ends when it may not be, and can be started again when it may', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run(() => window.person.share('blue'));
  await ben.sees({ [`${ann.id}#content`]: 'blue' });
  await on.server.allow(meeting, ann.attendee, { Content: 'Receive' });
  await ann.until('contentShareDidStop', () => window.person.count('shareStop') > 0);
  await ben.sees({});
  await ben.until('the content out of the roster', (id) => window.person.present[id] === false, `${ann.id}#content`);
  await on.server.allow(meeting, ann.attendee);
  await ann.run(() => window.person.share('yellow'));
  await ben.sees({ [`${ann.id}#content`]: 'yellow' });
  await on.server.allow(meeting, ben.attendee, { Content: 'Send' });
  await ben.sees({});
  await on.server.allow(meeting, ben.attendee);
  await ben.sees({ [`${ann.id}#content`]: 'yellow' });
});

test('all but one lose their cameras and voices at once', async () => {
  const { meeting, ann, ben, cat } = await on.gather(['ann', 'ben', 'cat']);
  await Promise.all([show(ann, colours.ann), show(ben, colours.ben)]);
  await cat.sees({ [ann.id]: colours.ann, [ben.id]: colours.ben });
  await on.server.allowAllBut(meeting, ann.attendee, { Audio: 'Receive', Video: 'Receive', Content: 'Receive' });
  await cat.sees({ [ann.id]: colours.ann });
  await ann.hears([], everyTone);
  await cat.hears([tones.ann], everyTone);
  await ben.hears([tones.ann], everyTone);
});
