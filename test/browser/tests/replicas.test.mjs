import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, colours, eventually } from '../harness/meeting.mjs';

const on = stage();
const show = (person, colour) => person.run((c) => window.person.camera(c), colour);
const promote = (person, attendee) => person.run((a) => window.person.promote(a), attendee);
const presence = (person) => person.run(() => window.person.present);
const stopped = async (person) => {
  await person.until('audioVideoDidStop', () => window.person.count('stop') > 0);
  return (await person.run(() => window.person.last('stop').detail))[0];
};
const demoted = async (person, times = 1) => {
  await person.until('audioVideoWasDemotedFromPrimaryMeeting', (n) => window.person.count('demoted') >= n, times);
  return (await person.run(() => window.person.last('demoted').detail))[0];
};

/** Makes a replica of a meeting, with people of these names in it. */
async function watch(primary, names) {
  const meeting = await on.server.meeting({ PrimaryMeetingId: primary.MeetingId });
  assert.equal(meeting.PrimaryMeetingId, primary.MeetingId);
  const people = { replica: meeting };
  for (const name of names) {
    const attendee = await on.server.attendee(meeting, name);
    people[name] = await on.browser.join(meeting, attendee, { tone: tones[name] });
    people[name].attendee = attendee;
  }
  return people;
}

test('who watches hears, sees and is told all of the primary, which knows nothing of it', async () => {
  const meeting = await on.server.meeting();
  const { cat } = await watch(meeting, ['cat']); // before anybody is in the primary
  await cat.hears([], everyTone);
  const attendee = await on.server.attendee(meeting, 'ann');
  const ann = await on.browser.join(meeting, attendee, { tone: tones.ann });
  await cat.hears([tones.ann], everyTone);
  await cat.until('ann and how loud she is', (id) => window.person.present[id] && window.person.volume[id] > 0.1, ann.id);
  await cat.until('ann as the active speaker', (id) => window.person.active[0] === id, ann.id);
  await show(ann, colours.ann);
  await cat.sees({ [ann.id]: colours.ann });
  await ann.run(() => window.person.share('yellow'));
  await cat.sees({ [ann.id]: colours.ann, [`${ann.id}#content`]: 'yellow' });
  await ann.run(() => window.person.send('to all', 300_000));
  await cat.until('the message', () => window.person.messages.length === 1);
  assert.equal((await cat.run(() => window.person.messages[0])).from, ann.id);

  const { dan } = await watch(meeting, ['dan']); // of another replica, and late
  await dan.hears([tones.ann], everyTone);
  await dan.sees({ [ann.id]: colours.ann, [`${ann.id}#content`]: 'yellow' });
  await dan.until('the message again', () => window.person.messages.length === 1);

  // What they send reaches nobody.
  assert.equal(await cat.run(() => window.person.mayFilm), false);
  await show(cat, colours.cat);
  await cat.until('videoSendDidBecomeUnavailable', () => window.person.count('videoUnavailable') > 0);
  await cat.run(() => window.person.send('from nobody', 300_000));
  await ann.run(() => window.person.send('last', 300_000));
  await dan.until('the second message of ann', () => window.person.messages.some((message) => message.text === 'last'));
  assert.equal(await dan.run(() => window.person.messages.length), 2);
  assert.equal(await ann.run(() => window.person.messages.length), 0);
  await ann.hears([], everyTone);
  await ann.sees({ [`${ann.id}#content`]: 'yellow' }); // which its client shows by itself
  for (const person of [ann, cat, dan]) {
    assert.deepEqual(await presence(person), { [ann.id]: true, [`${ann.id}#content`]: true });
  }
});

test('who is promoted takes part as the attendee of the primary, until it steps down, and again', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat, dan } = await watch(meeting, ['cat', 'dan']);
  const ben = await on.server.attendee(meeting, 'ben');
  await cat.hears([tones.ann], everyTone);
  for (const colour of ['blue', 'yellow']) {
    assert.equal(await promote(cat, ben), 'OK');
    await ann.hears([tones.cat], everyTone);
    await dan.hears([tones.ann, tones.cat], everyTone);
    await cat.hears([tones.ann], everyTone);
    await cat.until('the right to a camera', () => window.person.mayFilm === true);
    await show(cat, colour);
    await ann.sees({ [ben.AttendeeId]: colour });
    await dan.sees({ [ben.AttendeeId]: colour });
    await cat.sees({});
    await cat.run(() => window.person.send('as ben'));
    await ann.until('the message', () => window.person.messages.at(-1)?.text === 'as ben');
    const { from, user } = await ann.run(() => window.person.messages.pop());
    assert.deepEqual([from, user], [ben.AttendeeId, 'ben']);
    await ann.until('ben and how loud he is', (id) => window.person.present[id] && window.person.volume[id] > 0.1, ben.AttendeeId);
    for (const person of [ann, dan, cat]) {
      assert.deepEqual(await presence(person), { [ann.id]: true, [ben.AttendeeId]: true });
    }

    await cat.run(() => window.person.demote());
    await ann.hears([], everyTone);
    await ann.sees({});
    await dan.hears([tones.ann], everyTone);
    await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.AttendeeId);
    await cat.until('its camera to be off', () => !window.person.av.hasStartedLocalVideoTile());
    await cat.hears([tones.ann], everyTone);
  }
  await dan.until('ben to be gone', (id) => window.person.present[id] === false, ben.AttendeeId);
  assert.deepEqual(await dan.run(() => Object.values(window.person.joins)), [1, 2]);
});

test('the deletion of its attendee of the primary demotes, and ends nothing else', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat } = await watch(meeting, ['cat']);
  const ben = await on.server.attendee(meeting, 'ben');
  assert.equal(await promote(cat, ben), 'OK');
  await ann.hears([tones.cat], everyTone);
  await on.server.deleteAttendee(meeting, ben);
  assert.equal(await demoted(cat), 'AudioVideoWasRemovedFromPrimaryMeeting');
  await ann.hears([], everyTone);
  await ann.until('ben to be gone', (id) => window.person.present[id] === false, ben.AttendeeId);
  await cat.hears([tones.ann], everyTone);
  assert.equal(await cat.run(() => window.person.count('stop')), 0);
  assert.equal(await promote(cat, ben), 'AudioAuthenticationRejected');
});

test('wrong credentials are refused, and the session goes on', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat } = await watch(meeting, ['cat']);
  const ben = await on.server.attendee(meeting, 'ben');
  const stranger = await on.server.attendee(await on.server.meeting(), 'stranger');
  assert.equal(await promote(cat, { ...ben, JoinToken: `x${ben.JoinToken.slice(1)}` }), 'AudioAuthenticationRejected');
  assert.equal(await promote(cat, stranger), 'AudioAuthenticationRejected');
  assert.equal(await promote(cat, cat.attendee), 'AudioAuthenticationRejected');
  assert.equal(await promote(cat, { ...ann.attendee, JoinToken: ben.JoinToken }), 'AudioAuthenticationRejected');
  assert.equal(await promote(ann, ben), 'AudioAuthenticationRejected'); // ann is in no replica
  await cat.hears([tones.ann], everyTone);
  await ann.hears([], everyTone);
  assert.deepEqual(await presence(ann), { [ann.id]: true });
  assert.equal(await cat.run(() => window.person.count('stop') + window.person.count('demoted')), 0);
});

test('an attendee of the primary is one connection at a time', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  const { cat, dan } = await watch(meeting, ['cat', 'dan']);
  await ann.until('ben', (id) => window.person.present[id], ben.id);
  assert.equal(await promote(cat, ben.attendee), 'OK');
  assert.equal(await stopped(ben), 'AudioJoinedFromAnotherDevice');
  await ann.hears([tones.cat], everyTone);
  assert.equal(await promote(dan, ben.attendee), 'OK');
  assert.equal(await demoted(cat), 'AudioVideoWasRemovedFromPrimaryMeeting');
  await ann.hears([tones.dan], everyTone);
  await on.browser.join(meeting, ben.attendee, { tone: tones.ben });
  assert.equal(await demoted(dan), 'AudioVideoWasRemovedFromPrimaryMeeting');
  await ann.hears([tones.ben], everyTone);
  assert.equal(await ann.run((id) => window.person.leaves[id] ?? 0, ben.id), 0); // nobody saw a change
});

test('who is promoted shares content, and no longer than that', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat, dan } = await watch(meeting, ['cat', 'dan']);
  const ben = await on.server.attendee(meeting, 'ben');
  const share = `${ben.AttendeeId}#content`;
  await cat.run(() => window.person.share('blue'));
  await cat.until('contentShareDidStop', () => window.person.count('shareStop') > 0);
  assert.deepEqual(await ann.run(() => Object.keys(window.person.joins)), [ann.id]);
  assert.equal(await promote(cat, ben), 'OK');
  await cat.run(() => window.person.share('yellow'));
  await ann.sees({ [share]: 'yellow' });
  await dan.sees({ [share]: 'yellow' });
  await cat.until('contentShareDidStart', () => window.person.count('shareStart') === 1);
  await cat.sees({ [`${cat.id}#content`]: 'yellow' }); // which its client shows by itself
  assert.deepEqual(Object.keys(await presence(ann)).sort(), [ann.id, ben.AttendeeId, share].sort());
  assert.deepEqual(Object.keys(await presence(cat)).sort(), [ann.id, ben.AttendeeId, `${cat.id}#content`].sort());
  await on.server.deleteAttendee(meeting, ben);
  await ann.sees({});
  await ann.until('the share to be gone', (id) => window.person.present[id] === false, share);
  await cat.until('contentShareDidStop', () => window.person.count('shareStop') > 1);
});

test('what the attendee of the primary may not, who is promoted to it may not either', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat } = await watch(meeting, ['cat']);
  const ben = await on.server.attendee(meeting, 'ben');
  assert.equal(await promote(cat, ben), 'OK');
  await ann.hears([tones.cat], everyTone);
  await on.server.allow(meeting, ben, { Audio: 'Receive' });
  await ann.until('ben to show as muted', (id) => window.person.muted[id] === true, ben.AttendeeId);
  await ann.hears([], everyTone);
  await on.server.allow(meeting, ben);
  await ann.hears([tones.cat], everyTone);
});

test('the end of a replica ends it alone, the end of the primary all', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  const { cat, replica } = await watch(meeting, ['cat']);
  const { dan } = await watch(meeting, ['dan']);
  await on.server.deleteMeeting(replica);
  assert.equal(await stopped(cat), 'MeetingEnded');
  await dan.hears([tones.ann], everyTone);
  assert.equal(await ann.run(() => window.person.count('stop')), 0);
  await on.server.deleteMeeting(meeting);
  assert.equal(await stopped(dan), 'MeetingEnded');
  assert.equal(await stopped(ann), 'MeetingEnded');
  await eventually('the media to be closed', async () => (await on.server.metric('belfry_media_conferences')) === 0);
});
