// The ways of the media where the direct one by UDP is not there, or ceases to be.
import { test, after } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { networkInterfaces, tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { join } from 'node:path';
import { stage, tones, everyTone, colours, eventually } from '../harness/meeting.mjs';
import { NAT, path } from '../harness/network.mjs';

/** Ann and ben hear each other, and ben sees ann. */
async function talk({ ann, ben }) {
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  await ann.run((colour) => window.person.camera(colour), colours.ann);
  await ben.sees({ [ann.id]: colours.ann });
}

/** Nobody has connected a second time. */
async function stayed(...people) {
  for (const person of people) assert.equal(await person.run(() => window.person.count('connecting')), 1);
}

const overTCP = stage({ env: { BELFRY_MEDIA_TRANSPORTS: 'tcp', BELFRY_TURN: 'never' } });
test('without UDP the media goes over TCP, to the port of the API', async () => {
  const { ann, ben } = await overTCP.gather(['ann', 'ben']);
  await talk({ ann, ben });
  for (const person of [ann, ben]) assert.deepEqual(await path(person), { type: (await path(person)).type, protocol: 'tcp', relay: undefined, family: 4 });
  assert.equal(await overTCP.server.metric('belfry_media_packets_in_total'), 0);
  assert.ok(await overTCP.server.metric('belfry_media_tcp_packets_in_total') > 100);
  await stayed(ann, ben);
});

/** A stage whose server stands behind a NAT; addresses are told to clients beside it. */
function behindNAT(env, ...addresses) {
  const on = stage({
    env: { BELFRY_TURN: 'never', BELFRY_LOG_LEVEL: 'info', ...env },
    async before(on) {
      on.nat = await NAT.start();
      return { BELFRY_MEDIA_ADVERTISE: [`127.0.0.1:${on.nat.port}/udp`, ...addresses].join() };
    },
    async more(on) {
      const [, port] = await eventually('the log to name the media port', () => on.server.stderr.match(/ media=\S*:(\d+)/));
      on.nat.to(Number(port));
    },
  });
  after(() => on.nat.stop());
  return on;
}

const renumbered = behindNAT({ BELFRY_MEDIA_TRANSPORTS: 'udp' });
test('a client that gets another port in mid-call is followed', async () => {
  const { ann, ben } = await renumbered.gather(['ann', 'ben']);
  await talk({ ann, ben });
  const before = await renumbered.server.metric('belfry_media_path_changes_total');
  renumbered.nat.forget();
  await eventually('both on their new ports', async () => await renumbered.server.metric('belfry_media_path_changes_total') >= before + 2);
  await ben.sees({ [ann.id]: colours.ann });
  const [{ frames }] = await ben.tiles();
  await eventually('pictures that go on', async () => (await ben.tiles())[0]?.frames > frames + 5);
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  await stayed(ann, ben);
});

/** What a person's media goes by; between two connections there is no telling. */
const protocol = (person) => person.run(async () => {
  const stats = await window.person.stats().catch(() => []);
  const chosen = stats.find((entry) => entry.type === 'transport')?.selectedCandidatePairId;
  const pair = stats.find((entry) => entry.id === chosen && entry.state === 'succeeded');
  return stats.find((entry) => entry.id === pair?.localCandidateId)?.protocol;
});

const closing = behindNAT({}, '127.0.0.1/tcp');
// Where Chromium has kept its way over TCP it takes that; else the client connects again, by itself.
test('when UDP ceases in mid-call the client goes on over TCP', async () => {
  const { ann, ben } = await closing.gather(['ann', 'ben']);
  await talk({ ann, ben });
  await eventually('ann by UDP', async () => (await protocol(ann)) === 'udp');
  closing.nat.cut();
  for (const person of [ann, ben]) await eventually('the way over TCP', async () => (await protocol(person)) === 'tcp');
  await ann.hears([tones.ben], everyTone);
  await ben.hears([tones.ann], everyTone);
  await ben.sees({ [ann.id]: colours.ann });
  for (const person of [ann, ben]) assert.equal(await person.run(() => Object.values(window.person.leaves).length), 0);
});

/** A port on which nobody listens. */
async function closedPort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const auto = stage({ before: async () => ({ BELFRY_TURN: 'auto', BELFRY_MEDIA_ADVERTISE: `127.0.0.1:${await closedPort()}` }) });
test('auto: who cannot get through gets a relay with the next attempt', async () => {
  const meeting = await auto.server.meeting();
  const people = await Promise.all(['ann', 'ben'].map(async (name) => {
    const person = await auto.browser.person();
    await person.join(meeting, await auto.server.attendee(meeting, name), { tone: tones[name] });
    return person;
  }));
  const [ann, ben] = people;
  for (const person of people) await person.until('audioVideoDidStart', () => window.person.count('start') > 0);
  await talk({ ann, ben });
  for (const person of people) assert.equal((await path(person)).type, 'relay');
});

let certificates;
const overTLS = stage({
  flags: ['--ignore-certificate-errors'],
  env: { BELFRY_TURN: 'always', BELFRY_TURN_TLS_LISTEN: '127.0.0.1:0', BELFRY_TURN_TLS_ADVERTISE: '127.0.0.1' },
  async before() {
    certificates = await mkdtemp(join(tmpdir(), 'belfry-test-'));
    const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(certificates, name));
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
      '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert]);
    return { BELFRY_TURN_TLS_CERT: cert, BELFRY_TURN_TLS_KEY: key };
  },
});
after(() => rm(certificates, { recursive: true, force: true }));

test('media goes through the relay over TLS', async () => {
  const meeting = await overTLS.server.meeting();
  const people = {};
  for (const name of ['ann', 'ben']) {
    people[name] = await overTLS.browser.person();
    // The client takes the relays as they are given; this leaves it the one.
    await people[name].page.evaluate(() => {
      const Native = RTCPeerConnection;
      window.RTCPeerConnection = class extends Native {
        constructor(configuration) {
          for (const server of configuration?.iceServers ?? []) server.urls = [server.urls].flat().filter((url) => url.startsWith('turns:'));
          super(configuration);
        }
      };
    });
    await people[name].join(meeting, await overTLS.server.attendee(meeting, name), { tone: tones[name] });
    await people[name].until('audioVideoDidStart', () => window.person.count('start') > 0);
  }
  await talk(people);
  for (const person of Object.values(people)) assert.deepEqual(await path(person), { type: 'relay', protocol: 'udp', relay: 'tls', family: 4 });
});

const hasIPv6 = Object.values(networkInterfaces()).flat().some(({ address }) => address === '::1');
for (const [name, env, want] of [
  ['UDP', { BELFRY_TURN: 'never', BELFRY_MEDIA_TRANSPORTS: 'udp' }, { protocol: 'udp', relay: undefined }],
  ['TCP', { BELFRY_TURN: 'never', BELFRY_MEDIA_TRANSPORTS: 'tcp' }, { protocol: 'tcp', relay: undefined }],
  ['the relay', { BELFRY_TURN: 'always', BELFRY_TURN_LISTEN: '[::1]:0' }, { protocol: 'udp', type: 'relay' }],
]) {
  if (!hasIPv6) {
    test(`over IPv6 by ${name}`, { skip: 'this machine has no IPv6' }, () => {});
    continue;
  }
  // Chromium looks for addresses of the family of the server's, and leaves out loopback unless told not to.
  const six = stage({ listen: '[::1]:0', env, flags: ['--allow-loopback-in-peer-connection'] });
  test(`over IPv6 by ${name}`, async () => {
    assert.match(six.server.url, /^http:\/\/\[::1\]:\d+$/);
    const { ann, ben, meeting } = await six.gather(['ann', 'ben']);
    for (const url of ['SignalingUrl', 'TurnControlUrl', 'EventIngestionUrl']) assert.ok(new URL(meeting.MediaPlacement[url]).host.startsWith('[::1]:'), meeting.MediaPlacement[url]);
    await talk({ ann, ben });
    const { family, ...got } = await path(ann);
    assert.equal(family, 6);
    for (const [key, value] of Object.entries(want)) assert.equal(got[key], value, key);
  });
}
