import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { StartMeetingTranscriptionCommand, StopMeetingTranscriptionCommand } from '@aws-sdk/client-chime-sdk-meetings';
import { Browser } from '../harness/browser.mjs';
import { Engine } from '../harness/engine.mjs';
import { eventually } from '../harness/meeting.mjs';
import { Server } from '../harness/server.mjs';

let engine;
let server;
let browser;
before(async () => {
  engine = await Engine.start();
  server = await Server.start({ env: { BELFRY_TRANSCRIPTION_ENGINE: engine.url } });
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
  engine?.stop();
});

const start = (meeting, language = 'en-US') => server.client.send(new StartMeetingTranscriptionCommand({
  MeetingId: meeting.MeetingId, TranscriptionConfiguration: { EngineTranscribeSettings: { LanguageCode: language } },
}));
const stop = (meeting) => server.client.send(new StopMeetingTranscriptionCommand({ MeetingId: meeting.MeetingId }));
const statuses = (person) => person.run(() => window.person.transcripts.filter((event) => event.type).map((event) => event.type));
const results = (person) => person.run(() => window.person.transcripts.flatMap((event) => event.results ?? []));
const told = (person, want) => eventually(`the statuses ${want}`, async () => String(await statuses(person)) === String(want));

test('what people say reaches the engine, and its text the client\'s transcription controller', async () => {
  const meeting = await server.meeting();
  const attendee = await server.attendee(meeting, 'ann');
  const ann = await browser.join(meeting, attendee, { tone: 400 });
  const ben = await browser.join(meeting, await server.attendee(meeting, 'ben'), { tone: 1000 });
  await start(meeting);
  await told(ann, ['started']);
  await told(ben, ['started']);
  const [started] = await ben.run(() => window.person.transcripts);
  assert.deepEqual(JSON.parse(started.transcriptionConfiguration), { EngineTranscribeSettings: { LanguageCode: 'en-US' } });
  assert.equal(started.transcriptionRegion, 'us-east-1');
  assert.ok(Math.abs(started.eventTimeMs - Date.now()) < 300_000, `${started.eventTimeMs}`);
  assert.equal(engine.starts.at(-1).meetingId, meeting.MeetingId);

  const says = (list, id, text) => list.filter((result) => result.alternatives[0].items[0].attendee.attendeeId === id && result.alternatives[0].transcript === text);
  await eventually('both pitches at ben', async () => {
    const list = await results(ben);
    return says(list, ann.id, 'Pitch 400.').length > 1 && says(list, ben.id, 'Pitch 1000.').length > 1;
  });
  // One stretch of speech has one id; a busy machine may make two of what ann says.
  const first = await eventually('an id that stays', async () => {
    const list = says(await results(ben), ann.id, 'Pitch 400.');
    return list.filter((result) => list.filter((other) => other.resultId === result.resultId).length > 1)[0];
  });
  assert.equal(first.isPartial, true);
  assert.ok(first.endTimeMs > first.startTimeMs && Math.abs(first.endTimeMs - Date.now()) < 300_000, JSON.stringify(first));
  const { items } = first.alternatives[0];
  assert.deepEqual(items.map((item) => [item.content, item.type]), [['Pitch', 'pronunciation'], ['400', 'pronunciation'], ['.', 'punctuation']]);
  assert.equal(items[0].attendee.externalUserId, 'ann');

  // Who falls silent has a last word.
  await ann.run(() => window.person.av.realtimeMuteLocalAudio());
  await eventually('the end of what ann says', async () => (await results(ben)).some((result) => !result.isPartial && result.alternatives[0].items[0].attendee.attendeeId === ann.id));

  // The engine goes away and comes back; who joins then is told how it stands.
  engine.drop();
  await told(ben, ['started', 'interrupted', 'resumed']);
  const cat = await browser.join(meeting, await server.attendee(meeting, 'cat'));
  await told(cat, ['resumed']);
  await stop(meeting);
  await told(ben, ['started', 'interrupted', 'resumed', 'stopped']);
  await told(cat, ['resumed', 'stopped']);
  await browser.clear();
});

test('an engine that refuses', async () => {
  const meeting = await server.meeting();
  const ann = await browser.join(meeting, await server.attendee(meeting, 'ann'));
  engine.refusal = 'no such language';
  await start(meeting, 'th-TH');
  await told(ann, ['failed']);
  const [failed] = await ann.run(() => window.person.transcripts);
  assert.match(failed.message, /no such language/);
  engine.refusal = undefined;
  await start(meeting);
  await told(ann, ['failed', 'started']);
  await browser.clear();
});
