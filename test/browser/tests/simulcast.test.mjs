import { test } from 'node:test';
import { stage, colours, eventually } from '../harness/meeting.mjs';

const on = stage();
const show = (person, colour) => person.run((c) => window.person.camera(c), colour);
const sent = async (person) => (await person.run(() => window.person.stats()))
  .filter((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video');

test('simulcast: three people see each other whatever layers are on', async () => {
  const each = { simulcast: true };
  const { meeting, ann, ben } = await on.gather(['ann', 'ben'], { ann: each, ben: each });
  await show(ann, colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
  // For two there is one layer, for three and more there are two.
  const active = async () => (await sent(ann)).filter((entry) => entry.active && entry.framesPerSecond > 0).map((entry) => entry.rid).sort();
  await eventually('one layer for two', async () => String(await active()) === 'mid');
  const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'), each);
  await cat.sees({ [ann.id]: colours.ann });
  await eventually('two layers for three', async () => (await active()).length === 2);
  await show(cat, colours.cat);
  await ben.sees({ [ann.id]: colours.ann, [cat.id]: colours.cat });
  const frames = async () => (await ben.tiles()).find((tile) => tile.attendee === ann.id)?.frames ?? 0;
  const before = await frames();
  await eventually('pictures that go on', async () => (await frames()) > before + 15);
  await cat.run(() => window.person.leave());
  await ben.sees({ [ann.id]: colours.ann });
  await eventually('one layer for two again', async () => String(await active()) === 'mid');
  const after = await frames();
  await eventually('pictures that go on', async () => (await frames()) > after + 15);
});
