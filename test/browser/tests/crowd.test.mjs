// The biggest meeting that the quotas allow: people come, go, vanish and mute, and a
// client that was there all the time and one that comes last see and hear the same.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { Crowd } from '../harness/crowd.mjs';
import { everyTone, stage, tones } from '../harness/meeting.mjs';

const on = stage({ env: { BELFRY_DROP_AFTER: '3s' } });
let crowd;
after(() => crowd?.end());

test('a meeting of 250 with people coming and going', async () => {
  const meeting = await on.server.meeting();
  const [ann, ben] = [await on.server.attendee(meeting, 'ann'), await on.server.attendee(meeting, 'ben')];
  const others = await on.server.attendees(meeting, 248);
  const first = await on.browser.join(meeting, ann, { tone: 0 });
  crowd = await Crowd.join(meeting, others, { seed: 7, cameras: 4, tones: [tones.ben, tones.cat, tones.dan] });
  const all = { [ann.AttendeeId]: false, ...Object.fromEntries(others.map(({ AttendeeId }) => [AttendeeId, false])) };
  await agrees(first, all);
  await first.hears([tones.ben, tones.cat, tones.dan], everyTone);
  assert.ok(await first.run(() => window.person.log.filter(({ name }) => name === 'presence').every(({ detail }) => detail.user)), 'an entry without ExternalUserId');

  const { present, cameras, talking } = await crowd.churn(160);
  assert.ok(cameras.length > 1 && Object.keys(talking).length > 1 && Object.keys(present).length > 150, 'the dice of this seed leave too little to see');
  const last = await on.browser.join(meeting, ben, { tone: 0 });
  Object.assign(present, { [ann.AttendeeId]: false, [ben.AttendeeId]: false });
  for (const person of [first, last]) {
    await agrees(person, present);
    await person.until('the cameras', (wanted) => JSON.stringify(window.person.sources?.toSorted()) === JSON.stringify(wanted), cameras);
    await person.until('a tile for each', (wanted) => JSON.stringify(window.person.tiles().map(({ attendee }) => attendee).sort()) === JSON.stringify(wanted), cameras);
    await person.until('who talks', (wanted) => JSON.stringify(Object.entries(window.person.volume).filter(([, volume]) => volume > 0).map(([id]) => id).sort()) === JSON.stringify(wanted), Object.keys(talking).sort());
    await person.hears(Object.values(talking).sort((a, b) => a - b), everyTone);
  }
  assert.deepEqual(await first.run(() => window.person.log.filter(({ name }) => ['connecting', 'stop'].includes(name)).map(({ name }) => name)), ['connecting']);
});

/** Waits until a person's roster is this: attendee id to muted. */
async function agrees(person, wanted) {
  await person.until(`a roster of ${Object.keys(wanted).length}`, (expected) => {
    const { present, muted } = window.person;
    const here = Object.keys(present).filter((id) => present[id]);
    return here.length === Object.keys(expected).length && here.every((id) => expected[id] === Boolean(muted[id]));
  }, wanted);
}
