import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, eventually, everyTone, tones } from '../harness/meeting.mjs';
import { Link } from '../harness/link.mjs';
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

const narrow = stage({ env: { BELFRY_TURN: 'never', BELFRY_MEDIA_TRANSPORTS: 'udp' } });
const links = [];
after(() => links.forEach((link) => link.stop()));

test('where the way down gets narrow the picture gets smaller or stands still, and comes back; the sound stays', { timeout: 6 * patience }, async () => {
  const each = { simulcast: true };
  const { meeting, ann } = await narrow.gather(['ann', 'cat'], { ann: each }); // for three the client sends two layers
  const link = await Link.start(meeting);
  links.push(link);
  const ben = await narrow.browser.person();
  await link.attach(ben);
  await ben.join(meeting, await narrow.server.attendee(meeting, 'ben'), { tone: tones.ben, policy: 'priority' });
  await ben.until('audioVideoDidStart', () => window.person.count('start') > 0);
  await ann.run(() => window.person.device(1280, 720));
  const large = async () => (await tileOf(ben, ann)).width >= 640;
  await eventually('the large picture', large);
  const standing = () => ben.run(() => window.person.session.audioVideo.getAllRemoteVideoTiles().some((tile) => tile.state().paused));
  link.narrow(120_000); // of which sound takes more than half
  await eventually('a smaller picture, or none', async () => (await tileOf(ben, ann)).width < 640 || await standing());
  await ben.hears([tones.ann, tones.cat], everyTone);
  link.narrow(0);
  await eventually('the large picture again', async () => !(await standing()) && await large());
  await moves(ben, ann);
  assert.equal(await ben.run(() => window.person.count('connecting')), 1);
});
