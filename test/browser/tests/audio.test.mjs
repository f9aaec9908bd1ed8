import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, eventually } from '../harness/meeting.mjs';

const on = stage();

test('each of three hears both others and never itself', async () => {
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat']);
  await ann.hears([tones.ben, tones.cat], everyTone);
  await ben.hears([tones.ann, tones.cat], everyTone);
  await cat.hears([tones.ann, tones.ben], everyTone);
});

test('one talker is heard by all, and then another', async () => {
  const { ann, ben, cat, dan } = await on.gather(['ann', 'ben', 'cat', 'dan'], { ben: { tone: 0 }, cat: { tone: 0 }, dan: { tone: 0 } });
  await Promise.all([ben, cat, dan].map((person) => person.hears([tones.ann], everyTone)));
  await ann.hears([], everyTone);
  await ann.run(() => window.person.setTone(0));
  await dan.run((tone) => window.person.setTone(tone), tones.dan);
  await Promise.all([ann, ben, cat].map((person) => person.hears([tones.dan], everyTone)));
  await dan.hears([], everyTone);
});

test('silence is sent as packets all the time, alone in the room too', async () => {
  const { ann } = await on.gather(['ann'], { ann: { tone: 0 } });
  const received = async () => (await ann.run(() => window.person.stats()))
    .filter((entry) => entry.type === 'inbound-rtp' && entry.kind === 'audio')
    .map((entry) => ({ packets: entry.packetsReceived, at: entry.timestamp, lost: entry.packetsLost }))[0];
  const first = await eventually('audio statistics', received);
  const second = await eventually('five seconds of packets', async () => {
    const now = await received();
    return now.packets >= first.packets + 250 && now;
  });
  const rate = (second.packets - first.packets) / ((second.at - first.at) / 1000);
  // 50 when nothing holds the machine up, and for a moment more when something did.
  assert.ok(rate < 100, `got ${rate.toFixed(1)} packets a second`);
  assert.equal(second.lost, 0);
  await ann.hears([], everyTone);
});

test('mute after joining silences and shows, unmute brings back', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ben.hears([tones.ann], everyTone);
  await ann.run(() => window.person.av.realtimeMuteLocalAudio());
  await ben.until('the mute to show', (id) => window.person.muted[id] === true, ann.id);
  await ben.hears([], everyTone);
  await ann.hears([tones.ben], everyTone);
  await ann.run(() => window.person.av.realtimeUnmuteLocalAudio());
  await ben.until('the unmute to show', (id) => window.person.muted[id] === false, ann.id);
  await ben.hears([tones.ann], everyTone);
});

test('who joins muted is shown muted and not heard, to those there and to later ones', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben'], { ben: { muteFirst: true } });
  await ann.until('ben to show as muted', (id) => window.person.muted[id] === true, ben.id);
  await ann.hears([], everyTone);
  const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'), { tone: tones.cat });
  await cat.until('ben to show as muted to a newcomer', (id) => window.person.muted[id] === true, ben.id);
  await ben.hears([tones.ann, tones.cat], everyTone);
  await ben.run(() => window.person.av.realtimeUnmuteLocalAudio());
  await ann.hears([tones.ben, tones.cat], everyTone);
});

test('a muted client that keeps sending sound is not heard', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await ben.hears([tones.ann], everyTone);
  // Says that it is muted, and leaves the microphone's track on.
  await ann.run(() => window.person.session.audioVideoController.meetingSessionContext.signalingClient.mute(true));
  await ben.until('the mute to show', (id) => window.person.muted[id] === true, ann.id);
  await ben.hears([], everyTone);
});

test('redundancy goes both ways with clients that prefer it, and not with one that has it off', async () => {
  const metric = (name) => on.server.metric(`belfry_media_audio_redundant_${name}_total`);
  const { meeting, ann } = await on.gather(['ann']);
  await eventually('redundant packets of ann', async () => await metric('in') > 50);
  const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'), { tone: 0 });
  const before = await metric('out');
  await ben.hears([tones.ann], everyTone);
  await eventually('redundant packets for ben', async () => await metric('out') > before + 50);
  const section = (person, which) => person.run((description) => {
    const { sdp } = window.person.session.audioVideoController.rtcPeerConnection[description];
    return sdp.split('\r\n').find((line) => line.startsWith('m=audio')).split(' ').slice(3);
  }, which);
  assert.deepEqual(await section(ben, 'remoteDescription'), ['63', '111', '13']);

  const { cat, dan } = await on.gather(['cat', 'dan'], { cat: { audio: { redundancy: false } }, dan: { audio: { redundancy: false } } });
  assert.deepEqual(await section(cat, 'remoteDescription'), ['111', '13']);
  await cat.hears([tones.dan], everyTone);
  await dan.hears([tones.cat], everyTone);
});

test('stereo music of 128 kbps arrives as it is, in stereo', async () => {
  const stereo = { profile: 'fullbandMusicStereo' };
  // Those before, who have just gone, may still be mixed for a moment.
  const encoded = () => on.server.metric('belfry_media_audio_encodes_total');
  const encodes = await eventually('nobody who is mixed', async () => {
    const before = await encoded();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return await encoded() === before && { before };
  });
  const { ann, ben } = await on.gather(['ann', 'ben'], { ann: { tone: tones.ann, right: tones.cat, audio: stereo }, ben: { tone: 0, audio: stereo } });
  await ben.hears([tones.ann, tones.cat], everyTone);
  // Each ear hears its own tone, and the other's at most faintly.
  const apart = await eventually('two sides', async () => {
    const [left, right] = await ben.run((list) => window.person.hearSides(list), [tones.ann, tones.cat]);
    return left[0] - left[1] > 20 && right[1] - right[0] > 20 && { left, right };
  });
  assert.ok(apart);
  // Bytes a packet: a machine that is held up sends and gets fewer of them.
  const size = (person, type, packets, bytes) => eventually(`statistics of ${type}`, async () => {
    const read = async () => (await person.run(() => window.person.stats())).find((entry) => entry.type === type && entry.kind === 'audio');
    const first = await read();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const second = await read();
    return first && second && second[packets] > first[packets] && (second[bytes] - first[bytes]) / (second[packets] - first[packets]);
  });
  let sent, received;
  await eventually('as many bytes a packet as were sent', async () => { // while nothing comes too late
    sent = await size(ann, 'outbound-rtp', 'packetsSent', 'bytesSent');
    received = await size(ben, 'inbound-rtp', 'packetsReceived', 'bytesReceived');
    return received > sent * 0.7;
  });
  // It was passed on: nothing was coded anew.
  assert.equal(await encoded(), encodes.before);
});

test('the sound of a content share reaches all but its owner', async () => {
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat'], { ann: { tone: 0 }, ben: { tone: 0 } });
  await Promise.all([ann, ben].map((person) => person.hears([tones.cat], everyTone)));
  await ann.run(([colour, tone]) => window.person.shareWithSound(colour, tone), ['blue', tones.dan]);
  await ben.hears([tones.cat, tones.dan], everyTone);
  await cat.hears([tones.dan], everyTone);
  await ann.hears([tones.cat], everyTone);
  await ann.run(() => window.person.stopShare());
  await ben.hears([tones.cat], everyTone);
});
