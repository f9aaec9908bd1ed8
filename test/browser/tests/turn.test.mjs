import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, colours } from '../harness/meeting.mjs';
import { path } from '../harness/network.mjs';

for (const transport of ['udp', 'tcp']) {
  const on = stage({ env: { BELFRY_TURN: 'always' } });
  test(`always: media goes through the relay over ${transport}`, async () => {
    const meeting = await on.server.meeting();
    const people = {};
    for (const name of ['ann', 'ben']) {
      people[name] = await on.browser.person();
      // The client takes the relays as they are given; this leaves it one of them.
      await people[name].page.evaluate((wanted) => {
        const Native = RTCPeerConnection;
        window.RTCPeerConnection = class extends Native {
          constructor(configuration) {
            for (const server of configuration?.iceServers ?? []) server.urls = [server.urls].flat().filter((url) => url.includes(`transport=${wanted}`));
            super(configuration);
          }
        };
      }, transport);
      await people[name].join(meeting, await on.server.attendee(meeting, name), { tone: tones[name] });
      await people[name].until('audioVideoDidStart', () => window.person.count('start') > 0);
    }
    const { ann, ben } = people;
    await ann.hears([tones.ben], everyTone);
    await ben.hears([tones.ann], everyTone);
    await ann.run((colour) => window.person.camera(colour), colours.ann);
    await ben.sees({ [ann.id]: colours.ann });
    assert.deepEqual(await path(ann), { type: 'relay', protocol: 'udp', relay: transport, family: 4 });
    assert.ok(await on.server.metric('belfry_turn_allocations') >= 2);
  });
}

const direct = stage();
test('by default on loopback the client goes direct', async () => {
  const { ann } = await direct.gather(['ann']);
  assert.notEqual((await path(ann)).type, 'relay');
  assert.equal(await direct.server.metric('belfry_turn_allocations'), 0);
});
