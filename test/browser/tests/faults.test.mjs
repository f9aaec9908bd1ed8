import { test, after } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, sleep } from '../harness/meeting.mjs';
import { Proxy } from '../harness/proxy.mjs';

let proxy;
const on = stage({ more: async ({ server }) => { proxy = await Proxy.start(server.url); } });
after(() => proxy?.stop());

/** ann and ben in a meeting, ben's signaling through the proxy. */
async function pair() {
  const meeting = await on.server.meeting();
  const ann = await on.browser.join(meeting, await on.server.attendee(meeting, 'ann'), { tone: tones.ann });
  const ben = await on.browser.join(proxy.through(meeting), await on.server.attendee(meeting, 'ben'), { tone: tones.ben });
  await ann.until('ben', (id) => window.person.present[id], ben.id);
  await ann.hears([tones.ben], everyTone);
  return { meeting, ann, ben };
}

async function nobodySawALeave(ann, ben) {
  assert.equal(await ann.run((id) => window.person.leaves[id] ?? 0, ben.id), 0, 'a leave was seen');
  assert.equal(await ben.run(() => window.person.count('stop')), 0, 'the client stopped');
}

test('a reset signaling socket comes back by itself, with no leave seen', async () => {
  const { ann, ben } = await pair();
  const sockets = proxy.accepted;
  proxy.reset();
  await ben.until('a second start', () => window.person.count('start') >= 2);
  assert.ok(proxy.accepted > sockets);
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  await sleep(15_000); // past the time after which a lost attendee is dropped
  await nobodySawALeave(ann, ben);
  await ann.run(() => window.person.send('still there?'));
  await ben.until('a message over the new socket', () => window.person.messages.length === 1);
});

test('who is promoted and loses its socket watches again, until it is promoted anew', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const replica = await on.server.meeting({ PrimaryMeetingId: meeting.MeetingId });
  const cat = await on.browser.join(proxy.through(replica), await on.server.attendee(replica, 'cat'), { tone: tones.cat });
  const ben = await on.server.attendee(meeting, 'ben');
  for (let time = 1; time <= 2; time++) {
    assert.equal(await cat.run((a) => window.person.promote(a), ben), 'OK');
    await ann.hears([tones.cat], everyTone);
    if (time === 2) break;
    proxy.reset();
    await cat.until('its demotion', () => window.person.count('demoted') === 1);
    assert.deepEqual(await cat.run(() => window.person.last('demoted').detail), ['AudioVideoDisconnectedWhilePromoted']);
    await cat.until('a second start', () => window.person.count('start') >= 2);
    await ann.hears([], everyTone);
    await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.AttendeeId);
    await cat.hears([tones.ann], everyTone);
  }
});

test('a stalled signaling socket comes back by itself, with no leave seen', async () => {
  const { ann, ben } = await pair();
  await sleep(11_000); // a client counts no missed pong in its first ten seconds
  proxy.stall();
  await ben.until('a second start', () => window.person.count('start') >= 2);
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  await nobodySawALeave(ann, ben);
});
