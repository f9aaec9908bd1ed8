// TurnControlUrl, as the clients ask that take their relay from it: in three forms over
// the years, and without an answer none of them comes in.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { stage, tones, everyTone, eventually } from '../harness/meeting.mjs';

const packages = path.join(path.dirname(fileURLToPath(import.meta.url)), '../node_modules');
const on = stage({ env: { BELFRY_TURN: 'always' } });

const forms = [
  {
    name: 'client-1.1.0', asks: 'by POST with the token in a header', method: 'POST',
    check({ headers, query, body, meeting, attendee }) {
      assert.equal(headers['x-chime-auth-token'], `_aws_wt_session=${attendee.JoinToken}`);
      assert.deepEqual(body, { meetingId: meeting.MeetingId });
      assert.equal(query.get('X-Amzn-Version'), '1.1.0');
    },
  },
  {
    name: 'legacy-1.12.0', asks: 'by GET with the token in the query', method: 'GET',
    check({ query, meeting, attendee }) {
      assert.equal(query.get('m'), meeting.MeetingId);
      assert.equal(query.get('t'), attendee.JoinToken);
    },
  },
  {
    name: 'legacy-1.16.0', asks: 'by POST again', method: 'POST',
    check({ headers, body, meeting, attendee }) {
      assert.equal(headers['x-chime-auth-token'], `_aws_wt_session=${attendee.JoinToken}`);
      assert.deepEqual(body, { meetingId: meeting.MeetingId });
    },
  },
];

for (const { name, asks, method, check } of forms) {
  test(`${name} asks for its relay ${asks}`, async () => {
    const meeting = await on.server.meeting();
    const attendee = await on.server.attendee(meeting, 'ann');
    const ann = await on.browser.person(path.join(packages, name));
    const asked = [];
    ann.page.on('response', (response) => {
      if (response.url().startsWith(meeting.MediaPlacement.TurnControlUrl) && response.request().method() !== 'OPTIONS') asked.push(response);
    });
    await ann.join(meeting, attendee, { tone: tones.ann, unifiedPlan: false });
    await ann.until('audioVideoDidStart', () => window.person.count('start') > 0);
    const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'), { tone: tones.ben });
    await ann.hears([tones.ben], everyTone);
    await ben.hears([tones.ann], everyTone);

    // Once, or again where a machine that is held up had it connect again.
    assert.ok(asked.length > 0);
    const response = asked.at(-1);
    const request = response.request();
    assert.equal(request.method(), method);
    check({
      headers: await request.allHeaders(), query: new URL(request.url()).searchParams,
      body: request.postData() && JSON.parse(request.postData()), meeting, attendee,
    });
    assert.equal(response.status(), 200);
    const { username, uris } = await response.json();
    assert.ok(uris.length > 0);

    // What carries the media are the credentials of that answer.
    const pair = await eventually('a nominated pair', () => ann.run(async () => {
      const stats = await window.person.stats();
      const carries = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
      return carries && stats.find((entry) => entry.id === carries.localCandidateId);
    }));
    assert.equal(pair.candidateType, 'relay');
    assert.ok(uris.includes(pair.url), `the relay ${pair.url} is none of ${uris}`);
    assert.match(username, new RegExp(attendee.AttendeeId));
  });
}

for (const { name } of forms) {
  test(`${name} does not come in with a token that is not valid`, async () => {
    const meeting = await on.server.meeting();
    const attendee = await on.server.attendee(meeting, 'ann');
    const ann = await on.browser.person(path.join(packages, name));
    const statuses = [];
    ann.page.on('response', (response) => {
      if (response.url().startsWith(meeting.MediaPlacement.TurnControlUrl) && response.request().method() !== 'OPTIONS') statuses.push(response.status());
    });
    await ann.join(meeting, { ...attendee, JoinToken: 'not-a-token' }, { tone: tones.ann, unifiedPlan: false });
    await eventually('a refusal', () => statuses.length > 0);
    assert.equal(statuses[0], 403);
    assert.equal(await ann.run(() => window.person.count('start')), 0);
  });
}
