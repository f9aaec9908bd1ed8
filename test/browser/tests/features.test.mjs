import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, eventually, colours } from '../harness/meeting.mjs';

const on = stage();
const fullHD = { Video: { MaxResolution: 'FHD' }, Attendee: { MaxCount: 25 } };
const show = (person, colour, width, height) => person.run(([c, w, h]) => window.person.camera(c, w, h), [colour, width, height]);

/** Two people; ann's application says that the meeting has full HD, whether or not it has. */
async function pair(features) {
  const meeting = await on.server.meeting({ MeetingFeatures: features });
  const claimed = { ...structuredClone(meeting), MeetingFeatures: fullHD };
  const ann = await on.browser.join(claimed, await on.server.attendee(meeting, 'ann'));
  const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'));
  return { meeting, ann, ben };
}

async function sent(person) {
  const flow = (await person.run(() => window.person.stats())).find((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video');
  return flow ? [flow.frameWidth, flow.frameHeight, flow.framesEncoded] : [];
}

test('a camera of 1080 lines is not shown where the meeting has HD, and is once it keeps to that', async () => {
  const { ann, ben } = await pair(undefined);
  await show(ann, colours.ann, 1920, 1080);
  await eventually('pictures of 1080 lines', async () => { const [, height, frames] = await sent(ann); return height === 1080 && frames > 15; });
  await eventually('them to be counted', async () => await on.server.metric('belfry_media_video_too_large_total') > 0);
  await ben.sees({});
  await show(ann, 'blue', 1280, 720);
  await ben.sees({ [ann.id]: 'blue' });
  const [tile] = await ben.tiles();
  assert.deepEqual([tile.width, tile.height], [1280, 720]);
});

test('a camera of 1080 lines is shown where the meeting has full HD', async () => {
  const { ann, ben } = await pair(fullHD);
  await show(ann, colours.ann, 1920, 1080);
  await ben.sees({ [ann.id]: colours.ann });
  await eventually('the whole size', async () => { const [tile] = await ben.tiles(); return tile?.width === 1920 && tile.height === 1080; });
});

test('the client itself keeps a larger camera to what the meeting has', async () => {
  const meeting = await on.server.meeting();
  const ann = await on.browser.join(meeting, await on.server.attendee(meeting, 'ann'));
  const ben = await on.browser.join(meeting, await on.server.attendee(meeting, 'ben'));
  await show(ann, colours.ann, 1920, 1080);
  await ben.sees({ [ann.id]: colours.ann });
});

test('a meeting without video takes no camera, also from an application that says it has some', async () => {
  const { ann, ben } = await pair({ Video: { MaxResolution: 'None' } });
  await show(ann, colours.ann);
  await ann.until('videoSendDidBecomeUnavailable', () => window.person.count('videoUnavailable') > 0);
  assert.equal(await ann.run(() => window.person.av.hasStartedLocalVideoTile()), false);
  await ben.sees({});
});
