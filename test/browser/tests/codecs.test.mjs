import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, colours, eventually } from '../harness/meeting.mjs';

const on = stage();
// AV1 and layers cost a processor much: small pictures.
const small = [320, 180];
const show = (person, colour, [width, height] = small) => person.run(([c, w, h]) => window.person.camera(c, w, h), [colour, width, height]);
const codecs = async (person, direction) => (await person.run((d) => window.person.codecs('video', d), direction)).map((type) => type.toLowerCase());
const frames = async (person, from) => (await person.tiles()).find((tile) => tile.attendee === from)?.frames ?? 0;
const sent = async (person) => (await person.run(() => window.person.stats())).filter((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video');

async function moves(person, from) {
  const before = await frames(person, from);
  await eventually(`pictures of ${from} that go on`, async () => (await frames(person, from)) > before + 15);
}

for (const codec of ['vp9', 'av1']) {
  test(`${codec} from two cameras, each seen moving in its tile, also by who comes later`, async () => {
    const { meeting, ann, ben } = await on.gather(['ann', 'ben'], { ann: { codec }, ben: { codec } });
    await show(ann, colours.ann);
    await show(ben, colours.ben);
    await ben.sees({ [ann.id]: colours.ann });
    await ann.sees({ [ben.id]: colours.ben });
    assert.deepEqual(await codecs(ann, 'outbound-rtp'), [`video/${codec}`]);
    assert.deepEqual(await codecs(ben, 'inbound-rtp'), [`video/${codec}`]);
    await moves(ben, ann.id);
    const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'), { codec });
    await cat.sees({ [ann.id]: colours.ann, [ben.id]: colours.ben });
    await moves(cat, ann.id);
    await moves(cat, ben.id);
  });
}

/** Has the person's browser not know a codec, from before it joins. */
const without = (person, types) => person.run((names) => {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (what, init) {
    const transceiver = add.call(this, what, init);
    if (what === 'video' || what.kind === 'video') {
      transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((codec) => !names.includes(codec.mimeType)));
    }
    return transceiver;
  };
}, types);

test('a camera in AV1 changes its codec for a newcomer who cannot decode it, and who is there need not negotiate', async () => {
  const { meeting, ann, ben } = await on.gather(['ann', 'ben'], { ann: { codec: ['av1', 'vp9', 'vp8'] } });
  await show(ann, colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
  assert.deepEqual(await codecs(ann, 'outbound-rtp'), ['video/av1']);
  await ben.run(() => {
    const connection = window.person.session.audioVideoController.rtcPeerConnection;
    const set = connection.setLocalDescription.bind(connection);
    window.negotiations = 0;
    connection.setLocalDescription = (...args) => { window.negotiations++; return set(...args); };
  });
  const cat = await on.browser.person();
  await without(cat, ['video/AV1']);
  await cat.join(meeting, await on.server.attendee(meeting, 'cat'));
  await cat.until('audioVideoDidStart', () => window.person.count('start') > 0);
  await cat.sees({ [ann.id]: colours.ann });
  assert.deepEqual(await codecs(cat, 'inbound-rtp'), ['video/vp9']);
  await eventually('the other codec at who was there', async () => String(await codecs(ben, 'inbound-rtp')) === 'video/vp9');
  await ben.sees({ [ann.id]: colours.ann });
  await moves(ben, ann.id);
  assert.equal(await ben.run(() => window.negotiations), 0, 'the receiver had to negotiate for the sender\'s change');
});

const mode = async (person) => (await sent(person)).map((entry) => entry.scalabilityMode).filter(Boolean);

test('spatial and temporal layers of VP9 in one stream', async () => {
  const each = { svc: true, codec: 'vp9' };
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat'], { ann: each, ben: each, cat: each });
  await show(ann, colours.ann, [640, 360]);
  await ben.sees({ [ann.id]: colours.ann });
  await cat.sees({ [ann.id]: colours.ann });
  // The browser leaves out spatial layers that would be too small.
  await eventually('spatial and temporal layers', async () => (await mode(ann)).some((name) => /^L[23]T3$/.test(name)));
  await moves(ben, ann.id);
  await moves(cat, ann.id);
});

test('temporal layers of a share in AV1', async () => {
  const each = { svc: true, codec: 'av1' };
  const { ann, ben, cat } = await on.gather(['ann', 'ben', 'cat'], { ann: each, ben: each, cat: each });
  await ann.run(() => window.person.av.enableSVCForContentShare(true));
  await ann.run(([colour, width, height]) => window.person.av.startContentShare(window.person.picture(colour, width, height)), ['yellow', ...small]);
  const content = `${ann.id}#content`;
  await ben.sees({ [content]: 'yellow' });
  await cat.sees({ [content]: 'yellow' });
  assert.deepEqual(await codecs(ben, 'inbound-rtp'), ['video/av1']);
  await moves(ben, content);
  await moves(cat, content);
});
