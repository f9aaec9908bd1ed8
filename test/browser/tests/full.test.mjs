// What unmodified clients make of a server that is full.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { stage, tones, everyTone, colours, eventually } from '../harness/meeting.mjs';
import { binary } from '../harness/server.mjs';
import { patience } from '../harness/patience.mjs';

const on = stage();
const hold = (level) => promisify(execFile)(binary, ['capacity', 'hold', level, '--data-dir', on.server.dataDir]);
const tileOf = async (viewer, id) => (await viewer.tiles()).find((tile) => tile.attendee === id) ?? {};
const moves = async (viewer, id) => {
  const before = (await tileOf(viewer, id)).frames ?? 0;
  await eventually(`pictures of ${id} that go on`, async () => ((await tileOf(viewer, id)).frames ?? 0) > before + 10);
};
/** No new picture comes; what was on its way is given the time it needs. */
const stands = (viewer, id) => eventually(`pictures of ${id} that stand still`, async () => {
  const { frames } = await tileOf(viewer, id);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  return (await tileOf(viewer, id)).frames === frames;
});

test('a full server: video steps down and comes back, who comes new waits, and the sound goes on', { timeout: 6 * patience }, async () => {
  const each = { simulcast: true };
  const { meeting, ann, ben, dan } = await on.gather(['ann', 'ben', 'dan'], { ann: each, ben: { ...each, policy: 'priority' }, dan: each });
  await ann.run(() => window.person.device(1280, 720));
  await ben.run((c) => window.person.camera(c), colours.ben);
  const width = async (viewer) => (await tileOf(viewer, ann.id)).width;
  const large = async (viewer) => eventually('the large picture', async () => await width(viewer) > 640);
  await large(ben);
  await large(dan);
  await ann.run(() => window.person.share('blue'));
  const shared = `${ann.id}#content`;
  await moves(dan, shared);
  const whole = await width(ben);

  await hold('lower');
  for (const viewer of [ben, dan]) {
    await eventually('a smaller picture', async () => await width(viewer) < whole);
    await moves(viewer, ann.id);
  }
  await hold('full');
  for (const viewer of [ben, dan]) await stands(viewer, ann.id);
  await ben.until('to be told', () => window.person.count('tilePaused') > 0);
  await dan.hears([tones.ann, tones.ben], [tones.ann, tones.ben]);
  await moves(dan, shared);

  // Who comes new is told to try again, and does.
  const attendee = await on.server.attendee(meeting, 'cat');
  const cat = await on.browser.person();
  await cat.join(meeting, attendee, { tone: tones.cat });
  await eventually('three tries', async () => await on.server.metric('belfry_signaling_joins_total{outcome="full"}') >= 3);
  assert.equal(await cat.run(() => window.person.count('start') + window.person.count('stop')), 0);
  await assert.rejects(on.server.meeting(), { name: 'ServiceUnavailableException' });
  assert.equal((await fetch(`${on.server.url}/readyz`)).status, 503);
  assert.equal((await fetch(`${on.server.url}/healthz`)).status, 200);

  await hold('sound');
  await stands(dan, shared);
  await dan.hears([tones.ann, tones.ben], [tones.ann, tones.ben]);

  await hold('free');
  await cat.until('audioVideoDidStart', () => window.person.count('start') > 0);
  await ben.hears([tones.ann, tones.cat, tones.dan].sort((a, b) => a - b), everyTone);
  for (const viewer of [ben, dan]) await large(viewer);
  await moves(dan, shared);
  await moves(dan, ann.id);
  await ben.until('to be told', () => window.person.count('tileUnpaused') > 0);
  assert.equal(await ann.run(() => window.person.count('stop') + window.person.count('connecting')), 1); // nobody inside had to connect again
});
