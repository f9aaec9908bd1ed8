// How a person's media goes, and a NAT that can be played with: a port that stands
// before the server's, and sends to it from another port of its own for each client.
import dgram from 'node:dgram';
import net from 'node:net';
import { once } from 'node:events';
import { eventually } from './meeting.mjs';

/** The pair of candidates that carries the person's media: the kind of the local one, and what to. */
export function path(person) {
  return eventually('a nominated pair', async () => {
    const stats = await person.run(() => window.person.stats());
    const transport = stats.find((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
    const pair = transport && stats.find((entry) => entry.id === transport.selectedCandidatePairId && entry.nominated && entry.state === 'succeeded');
    const [local, remote] = pair ? [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.find((entry) => entry.id === id)) : [];
    return local && remote && { type: local.candidateType, protocol: local.protocol, relay: local.relayProtocol, family: net.isIP(remote.address) };
  });
}

export class NAT {
  /** Listens on 127.0.0.1; to() tells the port that it leads to. */
  static async start() {
    const nat = new NAT();
    nat.clients = new Map();
    nat.open = true;
    nat.outside = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    await once(nat.outside, 'listening');
    nat.port = nat.outside.address().port;
    nat.outside.on('message', (packet, { address, port }) => {
      if (!nat.open || !nat.target) return;
      const client = `${address}:${port}`;
      if (!nat.clients.has(client)) nat.clients.set(client, nat.map(address, port));
      nat.clients.get(client).send(packet, nat.target, '127.0.0.1');
    });
    return nat;
  }

  map(address, port) {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (packet) => { if (this.open) this.outside.send(packet, port, address); });
    return socket;
  }

  to(port) { this.target = port; }

  /** From now on every client has another port, and nothing that goes to the old ones arrives. */
  forget() {
    for (const socket of this.clients.values()) socket.close();
    this.clients.clear();
  }

  /** Lets nothing through any more. */
  cut() { this.open = false; }

  stop() {
    this.forget();
    this.outside.close();
  }
}
