import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone } from '../harness/meeting.mjs';

const on = stage();

/** Waits for audioVideoDidStop and returns the name of its status. */
async function stopped(person) {
  await person.until('audioVideoDidStop', () => window.person.count('stop') > 0);
  return (await person.run(() => window.person.last('stop').detail))[0];
}

test('who leaves gets Left, and can come back', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  await ann.run(() => window.person.leave());
  assert.equal(await stopped(ann), 'Left');
  const again = await on.browser.join(meeting, ann.attendee);
  await again.until('itself in the roster', (id) => window.person.present[id], ann.id);
});

test('a deleted attendee is removed, alone, and its token joins no more', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await ann.until('ben', (id) => window.person.present[id], ben.id);
  await on.server.deleteAttendee(meeting, ben.attendee);
  assert.equal(await stopped(ben), 'AudioAttendeeRemoved');
  await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.id);
  const again = await on.browser.person();
  await again.join(meeting, ben.attendee);
  assert.equal(await stopped(again), 'SignalingBadRequest');
  assert.equal(await ann.run(() => window.person.count('stop')), 0);
});

test('a deleted meeting ends for everybody, and joins no more', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await on.server.deleteMeeting(meeting);
  assert.equal(await stopped(ann), 'MeetingEnded');
  assert.equal(await stopped(ben), 'MeetingEnded');
  const again = await on.browser.person();
  await again.join(meeting, ann.attendee);
  assert.equal(await stopped(again), 'MeetingEnded');
});

test('who joins elsewhere takes the place of the first', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  const elsewhere = await on.browser.join(meeting, ann.attendee, { tone: tones.cat });
  assert.equal(await stopped(ann), 'AudioJoinedFromAnotherDevice');
  await ben.hears([tones.cat], everyTone);
  await elsewhere.hears([tones.ben], everyTone);
});

test('a token that was never given out is refused', async () => {
  const meeting = await on.server.meeting();
  const attendee = await on.server.attendee(meeting, 'ann');
  const person = await on.browser.person();
  await person.join(meeting, { ...attendee, JoinToken: 'x'.repeat(98) });
  assert.equal(await stopped(person), 'SignalingBadRequest');
});
