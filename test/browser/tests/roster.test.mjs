import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones } from '../harness/meeting.mjs';

const on = stage();

test('join and leave reach everybody, with the ExternalUserId', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.until('ben to be present', (id) => window.person.present[id], ben.id);
  await ben.until('ann to be present', (id) => window.person.present[id], ann.id);
  await ben.until('itself to be present', (id) => window.person.present[id], ben.id);
  const users = await ben.run(() => Object.fromEntries(window.person.log.filter((e) => e.name === 'presence').map((e) => [e.detail.id, e.detail.user])));
  assert.deepEqual(users, { [ann.id]: 'ann', [ben.id]: 'ben' });
  await ben.run(() => window.person.leave());
  await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.id);
  assert.equal(await ann.run((id) => window.person.dropped[id], ben.id), false);
});

test('who vanishes is shown as dropped', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ann.until('ben to be present', (id) => window.person.present[id], ben.id);
  await ben.context.close();
  on.browser.people.splice(on.browser.people.indexOf(ben), 1);
  await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.id);
  assert.equal(await ann.run((id) => window.person.dropped[id], ben.id), true);
});

test('volume, active speaker and signal strength', async () => {
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat'], { ann: { tone: 0 }, cat: { tone: 0 } });
  await ann.until('ben to be loud', (id) => window.person.volume[id] > 0.5, ben.id);
  await ann.until('ben to be the active speaker', (id) => window.person.active[0] === id, ben.id);
  await cat.until('ben to be the active speaker', (id) => window.person.active[0] === id, ben.id);
  // Only who is weak is told of; a client that heard of nobody knows no value.
  await ben.until('its own signal to be good', (id) => window.person.signal[id] === undefined || window.person.signal[id] === 1, ben.id);
  assert.equal((await ann.run((id) => window.person.volume[id], cat.id)) || 0, 0);
  await ben.run(() => window.person.setTone(0));
  await ann.until('ben to be silent', (id) => window.person.volume[id] === 0, ben.id);
  await cat.run((tone) => window.person.setTone(tone), tones.cat);
  await ann.until('cat to be the active speaker', (id) => window.person.active[0] === id, cat.id);
});

test('a newcomer gets the whole roster at once', async () => {
  const { cat, ann, ben } = await on.gather(['ann', 'ben', 'cat']);
  await cat.until('everybody', (ids) => ids.every((id) => window.person.present[id]), [ann.id, ben.id, cat.id]);
});
