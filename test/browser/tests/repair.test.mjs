// Packets that get lost on the way to the server and from it come again.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { colours, eventually, everyTone, stage, tones } from '../harness/meeting.mjs';
import { Link } from '../harness/link.mjs';

const on = stage({ env: { BELFRY_TURN: 'never' } });
const links = [];
after(() => links.forEach((link) => link.stop()));

/** What the person's video of one direction has counted, summed up over its streams. */
async function video(person, type) {
  const sum = {};
  for (const entry of await person.run(() => window.person.stats())) {
    if (entry.type !== type || entry.kind !== 'video') continue;
    for (const [name, value] of Object.entries(entry)) if (typeof value === 'number') sum[name] = (sum[name] ?? 0) + value;
  }
  return sum;
}

test('what is lost on the way up and on the way down is sent again', async () => {
  const meeting = await on.server.meeting();
  const people = {};
  for (const [seed, name] of ['ann', 'ben'].entries()) {
    const link = await Link.start(meeting, { loss: 0.08, seed });
    links.push(link);
    const person = people[name] = await on.browser.person();
    await link.attach(person);
    await person.join(meeting, await on.server.attendee(meeting, name), { tone: tones[name] });
    await person.until('audioVideoDidStart', () => window.person.count('start') > 0);
  }
  const { ann, ben } = people;
  await ann.run((colour) => window.person.camera(colour), colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
  const begun = { up: await video(ann, 'outbound-rtp'), down: await video(ben, 'inbound-rtp') };
  const since = async () => {
    const [up, down] = [await video(ann, 'outbound-rtp'), await video(ben, 'inbound-rtp')];
    const more = (now, then, name) => (now[name] ?? 0) - (then[name] ?? 0);
    return {
      asked: more(up, begun.up, 'nackCount'), resent: more(up, begun.up, 'retransmittedPacketsSent'),
      asks: more(down, begun.down, 'nackCount'), repaired: more(down, begun.down, 'retransmittedPacketsReceived'),
      frames: more(down, begun.down, 'framesDecoded'),
    };
  };
  const counts = await eventually('repairs both ways', async () => {
    const now = await since();
    return now.resent >= 10 && now.repaired >= 10 && now.frames >= 100 && now;
  });
  for (const link of links) assert.ok(link.lost > 20, `the link lost ${link.lost} packets`);
  assert.ok(counts.asked > 0 && counts.asks > 0, JSON.stringify(counts));
  // Not all that comes on a stream of repairs is one; what is not repaired is asked for over and over.
  assert.ok(counts.asks < 10 * counts.repaired, JSON.stringify(counts));
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  for (const person of [ann, ben]) assert.equal(await person.run(() => window.person.count('connecting')), 1);
});
