import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, eventually, sleep } from '../harness/meeting.mjs';

const on = stage();
const texts = (person) => person.run(() => window.person.messages.map((message) => message.text));

test('a message reaches all others, names its sender, and does not come back', async () => {
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat']);
  await ann.run(() => window.person.send('hello'));
  for (const person of [ben, cat]) {
    await person.until('the message', () => window.person.messages.length === 1);
    const [message] = await person.run(() => window.person.messages);
    assert.equal(message.text, 'hello');
    assert.equal(message.from, ann.id);
    assert.equal(message.user, 'ann');
    assert.equal(message.throttled, false);
    assert.ok(Math.abs(message.at - Date.now()) < 300_000, `sent at ${message.at}`);
  }
  assert.deepEqual(await texts(ann), []);
});

test('a message with a lifetime is replayed to who joins in time, and not after', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  await ann.run(() => { window.person.send('short', 1500); window.person.send('long', 300_000); window.person.send('none'); });
  await sleep(2500);
  const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'));
  await ben.until('the replay', () => window.person.messages.length > 0);
  await sleep(1000);
  assert.deepEqual(await texts(ben), ['long']);
});

test('too many messages come back marked as throttled, the others arrive in order', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  const begun = Date.now();
  await ann.run(() => { for (let i = 0; i < 300; i++) window.person.send(`m${i}`); });
  await ann.until('a throttled message', () => window.person.messages.some((message) => message.throttled));
  await ben.until('the messages within the limit', () => window.person.messages.length >= 200);
  let arrived, returned;
  await eventually('each message at one of them', async () => {
    [arrived, returned] = [await texts(ben), await texts(ann)];
    return arrived.length + returned.length >= 300;
  });
  assert.equal(arrived.length + returned.length, 300);
  // 200 at once and 100 a second: the longer it took, the more may pass.
  assert.ok(arrived.length <= 201 + (Date.now() - begun) / 10, `${arrived.length} of 300 passed`);
  assert.deepEqual(arrived, [...arrived].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1))));
  await sleep(1500);
  await ann.run(() => window.person.send('after the pause'));
  await ben.until('a message after the pause', () => window.person.messages.at(-1).text === 'after the pause');
});
