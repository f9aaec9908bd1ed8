import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, colours, eventually, sleep } from '../harness/meeting.mjs';

const on = stage();
const show = (person, colour) => person.run((c) => window.person.camera(c), colour);

test('several cameras, each in the right tile, and a late joiner sees all at once', async () => {
  const { meeting, ann, ben, cat } = await on.gather(['ann', 'ben', 'cat']);
  await Promise.all([show(ann, colours.ann), show(ben, colours.ben), show(cat, colours.cat)]);
  await ann.sees({ [ben.id]: colours.ben, [cat.id]: colours.cat });
  await ben.sees({ [ann.id]: colours.ann, [cat.id]: colours.cat });
  await cat.sees({ [ann.id]: colours.ann, [ben.id]: colours.ben });
  const dan = await on.browser.join(meeting, await on.server.attendee(meeting, 'dan'));
  // Before a camera sends a key frame by itself, which takes minutes.
  await dan.sees({ [ann.id]: colours.ann, [ben.id]: colours.ben, [cat.id]: colours.cat }, 60_000);
  await show(dan, colours.dan);
  await ann.sees({ [ben.id]: colours.ben, [cat.id]: colours.cat, [dan.id]: colours.dan });
});

for (const codec of ['vp8', 'h264']) {
  test(`${codec} is sent, seen and stays moving`, async () => {
    const { ann, ben } = await on.gather(['ann', 'ben'], { ann: { codec }, ben: { codec } });
    await show(ann, colours.ann);
    await ben.sees({ [ann.id]: colours.ann });
    assert.deepEqual((await ann.run(() => window.person.codecs('video', 'outbound-rtp'))).map((type) => type.toLowerCase()), [`video/${codec}`]);
    assert.deepEqual((await ben.run(() => window.person.codecs('video', 'inbound-rtp'))).map((type) => type.toLowerCase()), [`video/${codec}`]);
    const [{ frames }] = await ben.tiles();
    await eventually('30 more frames', async () => (await ben.tiles())[0].frames > frames + 30);
  });
}

test('stop takes the tile away, start brings it back with what is shown then', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, 'red');
  await ben.sees({ [ann.id]: 'red' });
  await ann.run(() => window.person.cameraOff());
  await ben.sees({});
  await show(ann, 'blue');
  await ben.sees({ [ann.id]: 'blue' });
  await ann.run(() => window.person.cameraOff());
  await ben.sees({});
  await show(ann, 'yellow');
  await ben.sees({ [ann.id]: 'yellow' });
});

test('pause stops the frames, resume goes on', async () => {
  const { ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, 'red');
  await ben.sees({ [ann.id]: 'red' });
  // A paused tile stands still whatever arrives: what counts is that nothing does.
  const packets = async () => (await ben.run(() => window.person.stats()))
    .filter((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video').reduce((sum, entry) => sum + entry.packetsReceived, 0);
  const flowing = await packets();
  await eventually('packets before the pause', async () => (await packets()) > flowing + 10);
  const [{ tile }] = await ben.tiles();
  await ben.run((id) => window.person.av.pauseVideoTile(id), tile);
  // What is on its way comes to an end, which it never does while the camera is seen.
  await eventually('two seconds without video', async () => {
    const paused = await packets();
    await sleep(2000);
    return await packets() === paused;
  });
  await ben.run((id) => window.person.av.unpauseVideoTile(id), tile);
  const [{ frames }] = await ben.tiles();
  await eventually('frames after resuming', async () => (await ben.tiles())[0]?.frames > frames + 10);
  await ben.sees({ [ann.id]: 'red' });
});

test('key frames come on request, and not in floods', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, 'red');
  await ben.sees({ [ann.id]: 'red' });
  const sent = async () => (await ann.run(() => window.person.stats()))
    .filter((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video').reduce((sum, entry) => sum + entry.keyFramesEncoded, 0);
  const before = await sent();
  const begun = Date.now();
  const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'));
  await cat.sees({ [ann.id]: 'red' }, 60_000);
  assert.ok(await sent() > before, 'no key frame was made for the newcomer');
  await sleep(4000);
  const after = await sent();
  // The longer the newcomer takes, the more may be asked for.
  const seconds = (Date.now() - begun) / 1000;
  assert.ok(after - before < 8 + seconds / 2, `${after - before} key frames for one newcomer in ${seconds} s`);
});

test('camera on before anybody else comes, and off again when one leaves', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  await show(ann, 'red');
  const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'));
  await ben.sees({ [ann.id]: 'red' });
  await show(ben, 'lime');
  await ann.sees({ [ben.id]: 'lime' });
  await ben.run(() => window.person.leave());
  await ann.sees({});
});

const codecs = async (person, direction) => (await person.run((d) => window.person.codecs('video', d), direction)).map((type) => type.toLowerCase());

test('a camera changes its codec for a newcomer who cannot decode it', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben']);
  await show(ann, colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
  assert.deepEqual(await codecs(ann, 'outbound-rtp'), ['video/vp9']);
  const cat = await on.browser.person();
  await cat.run(() => {
    const add = RTCPeerConnection.prototype.addTransceiver;
    RTCPeerConnection.prototype.addTransceiver = function (what, init) {
      const transceiver = add.call(this, what, init);
      if (what === 'video' || what.kind === 'video') {
        transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((codec) => !['video/H264', 'video/VP9'].includes(codec.mimeType)));
      }
      return transceiver;
    };
  });
  await cat.join(meeting, await on.server.attendee(meeting, 'cat'));
  await cat.until('audioVideoDidStart', () => window.person.count('start') > 0);
  await cat.sees({ [ann.id]: colours.ann });
  await ben.sees({ [ann.id]: colours.ann });
  assert.deepEqual(await codecs(cat, 'inbound-rtp'), ['video/vp8']);
  const [{ frames }] = await ben.tiles();
  await eventually('pictures that go on', async () => (await ben.tiles())[0].frames > frames + 15);
  await cat.run(() => window.person.leave());
  await eventually('the first choice again', async () => String(await codecs(ann, 'outbound-rtp')) === 'video/vp9');
  await ben.sees({ [ann.id]: colours.ann });
});

test('a session of video alone', async () => {
  const { meeting, ann } = await on.gather(['ann']);
  await show(ann, colours.ann);
  const mute = structuredClone(meeting);
  mute.MediaPlacement.AudioHostUrl = '';
  const ben = await on.browser.join(mute, await on.server.attendee(meeting, 'ben'));
  await ben.sees({ [ann.id]: colours.ann });
  await show(ben, colours.ben);
  await ann.sees({ [ben.id]: colours.ben });
  await ann.until('ben in the roster', (id) => window.person.present[id], ben.id);
  assert.equal(await ben.run(() => window.person.count('connecting')), 1, 'it had to connect again');
});
