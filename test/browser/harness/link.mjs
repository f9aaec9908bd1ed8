// A link between one person's media and the server that loses packets, by a seed, and can
// be made narrow: a UDP port before the server's. Only SRTP and SRTCP are lost (RFC 7983); connecting is not the matter.
import dgram from 'node:dgram';
import { once } from 'node:events';

export class Link {
  /** loss is the share of packets lost each way, from the start. */
  static async start(meeting, { loss = 0, seed = 1 } = {}) {
    const link = new Link();
    Object.assign(link, { loss, state: seed, lost: 0, passed: 0, rate: 0, free: 0 });
    const [host, port] = meeting.MediaPlacement.AudioHostUrl.split(':');
    link.near = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    link.far = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    await Promise.all([once(link.near, 'listening'), once(link.far, 'listening')]);
    let client;
    link.near.on('message', (packet, from) => {
      client = from;
      if (link.passes(packet)) link.far.send(packet, Number(port), host);
    });
    link.far.on('message', (packet) => { if (client && link.passes(packet)) link.down(packet, () => link.near.send(packet, client.port, client.address)); });
    link.server = port;
    link.port = link.near.address().port;
    return link;
  }

  passes(packet) {
    const media = packet[0] >= 128 && packet[0] <= 191;
    if (media && this.random() < this.loss) {
      this.lost++;
      return false;
    }
    this.passed++;
    return true;
  }

  /** From now on so many bits a second go down to the person; 0 is no limit. */
  narrow(rate) { this.rate = rate; }

  /** Lets a packet through when its turn comes, or drops it where 300 ms and more are before it. */
  down(packet, send) {
    const now = performance.now();
    const begin = Math.max(this.free, now);
    if (!this.rate) {
      this.free = 0;
      send();
      return;
    }
    if (begin - now > 300) {
      this.lost++;
      return;
    }
    this.free = begin + (packet.length + 28) * 8000 / this.rate;
    setTimeout(() => { if (!this.closed) send(); }, this.free - now);
  }

  /** mulberry32. */
  random() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** Has a person, who has not joined yet, find the server at this end of the link. */
  attach(person) {
    return person.page.evaluate(([server, here]) => {
      const set = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = function setRemoteDescription({ type, sdp }, ...rest) {
        const moved = sdp.replace(/^(a=candidate:\S+ \d+ udp \d+ \S+) (\d+)/gim, (all, before, port) => (port === server ? `${before} ${here}` : all));
        return set.call(this, { type, sdp: moved }, ...rest);
      };
    }, [this.server, String(this.port)]);
  }

  stop() {
    this.closed = true;
    this.near.close();
    this.far.close();
  }
}
