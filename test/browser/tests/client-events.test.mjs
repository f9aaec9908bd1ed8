// What the browser client reports of itself, as the operator reads it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { stage, eventually } from '../harness/meeting.mjs';
import { binary } from '../harness/server.mjs';

const on = stage();

function command(...args) {
  return execFileSync(binary, ['client-events', ...args, '--data-dir', on.server.dataDir], { encoding: 'utf8' });
}

function reported(meeting, ...args) {
  return command(meeting.MeetingId, '--json', ...args).trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** Waits for an event of that name from this person, and returns it. */
function event(meeting, person, name) {
  return eventually(`${name} of ${person.id}`, () => reported(meeting, '--attendee', person.id, '--name', name)[0]);
}

test('what clients report is kept: by request, by beacon, and after the end', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  for (const person of [ann, ben]) {
    const started = await event(meeting, person, 'meetingStartSucceeded');
    assert.equal(started.meeting, meeting.MeetingId);
    assert.ok(!started.late);
    assert.ok(Math.abs(started.ts - Date.parse(started.at)) < 300_000, 'the time of the event is far from that of its post');
    assert.match(started.client.browserName, /^Chrom/);
    assert.ok(started.client.sdkVersion, 'the client does not say its version');
    assert.ok(started.attributes.meetingStartDurationMs > 0, `there is no attribute in ${JSON.stringify(started)}`);
  }

  // A page that is left sends by a beacon what still waits for its turn.
  const beacons = [];
  ben.page.on('request', (request) => { if (request.url().endsWith('/v1/client-events?beacon=1')) beacons.push(JSON.parse(request.postData())); });
  await eventually('a beacon', async () => {
    await ben.run(async () => {
      await window.person.session.eventController.publishEvent('receivingAudioDropped');
      window.dispatchEvent(new Event('pagehide'));
    });
    return beacons.length > 0;
  });
  assert.equal(beacons[0].authorization, ben.attendee.JoinToken);

  await on.server.deleteMeeting(meeting);
  const ended = await event(meeting, ann, 'meetingEnded');
  assert.ok(ended.late, 'the event of a meeting that is gone does not say so');
  assert.equal(ended.attributes.meetingStatus, 'MeetingEnded');

  for (const { payloads } of beacons[0].events) for (const { name } of payloads) await event(meeting, ben, name);
  assert.match(command(), new RegExp(`${meeting.MeetingId} +\\d+ +2 +0 `));
  assert.match(command(meeting.MeetingId, '--name', 'meetingEnded'), /meetingEnded  late .*meetingStatus=MeetingEnded/);
  const dir = path.join(on.server.dataDir, 'client-events');
  for (const name of await readdir(dir)) {
    const text = await readFile(path.join(dir, name), 'utf8');
    for (const person of [ann, ben]) assert.ok(!text.includes(person.attendee.JoinToken), `a join token is in ${name}`);
  }
});
