import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, eventually, tones } from '../harness/meeting.mjs';
import { Link } from '../harness/link.mjs';
import { patience } from '../harness/patience.mjs';

const on = stage({ env: { BELFRY_TURN: 'never', BELFRY_MEDIA_TRANSPORTS: 'udp' } });
const links = [];
after(() => links.forEach((link) => link.stop()));

const tileOf = async (viewer, sender) => (await viewer.tiles()).find((tile) => tile.attendee === sender.id) ?? {};
const moves = async (viewer, sender) => {
  const before = (await tileOf(viewer, sender)).frames ?? 0;
  await eventually('pictures that go on', async () => ((await tileOf(viewer, sender)).frames ?? 0) > before + 10);
};
const sent = async (person) => (await person.run(() => window.person.stats())).filter((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video');

/** What an application can do beside the client: its camera has this scalability mode, whatever the client sets. */
const force = (person, mode) => person.run((name) => {
  const set = RTCRtpSender.prototype.setParameters;
  RTCRtpSender.prototype.setParameters = function (parameters, ...rest) {
    if (this.track?.kind === 'video') for (const encoding of parameters.encodings) encoding.scalabilityMode = name;
    return set.call(this, parameters, ...rest);
  };
}, mode);

// The first is what the client sets by itself.
for (const { codec, mode, forced } of [
  { codec: 'vp9', mode: /^L[23]T3$/ },
  { codec: 'vp9', mode: /^L[23]T3_KEY$/, forced: 'L3T3_KEY' },
  { codec: 'av1', mode: /^L2T2$/, forced: 'L2T2' },
]) {
  test(`${codec} ${forced ?? 'as the client sets it'}: where the way down gets narrow the layers within the stream do`, { timeout: 6 * patience }, async () => {
    const each = { svc: true, codec };
    const meeting = await on.server.meeting();
    const ann = await on.browser.person();
    if (forced) await force(ann, forced);
    await ann.join(meeting, await on.server.attendee(meeting, 'ann'), { ...each, tone: tones.ann });
    const cat = await on.browser.join(meeting, await on.server.attendee(meeting, 'cat'), { ...each, tone: tones.cat });
    const link = await Link.start(meeting);
    links.push(link);
    const ben = await on.browser.person();
    await link.attach(ben);
    await ben.join(meeting, await on.server.attendee(meeting, 'ben'), { ...each, tone: tones.ben, policy: 'priority' });
    await ben.until('audioVideoDidStart', () => window.person.count('start') > 0);
    await ann.run(() => window.person.device(640, 360));
    await eventually('layers', async () => (await sent(ann)).some((entry) => mode.test(entry.scalabilityMode)));
    const large = async (viewer) => (await tileOf(viewer, ann)).width === 640;
    await eventually('the large picture', () => large(ben));
    await eventually('the large picture', () => large(cat));
    link.narrow(130_000);
    await eventually('a smaller picture', async () => !(await large(ben)));
    await moves(ben, ann);
    assert.ok(await large(cat), 'who has a wide way has lost its large picture');
    link.narrow(0);
    await eventually('the large picture again', () => large(ben));
    await moves(ben, ann);
    await moves(cat, ann);
  });
}
