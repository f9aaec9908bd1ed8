import { test } from 'node:test';
import { stage, eventually } from '../harness/meeting.mjs';
import { patience } from '../harness/patience.mjs';

const on = stage();

const tileOf = async (viewer, sender) => (await viewer.tiles()).find((tile) => tile.attendee === sender.id) ?? {};
const moves = async (viewer, sender) => {
  const before = (await tileOf(viewer, sender)).frames ?? 0;
  await eventually('pictures that go on', async () => ((await tileOf(viewer, sender)).frames ?? 0) > before + 10);
};

test('a camera of 1280x720 reaches its size', { timeout: 4 * patience }, async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.run(() => window.person.device(1280, 720));
  await eventually('the whole picture', async () => (await tileOf(ben, ann)).width === 1280);
  await moves(ben, ann);
});
