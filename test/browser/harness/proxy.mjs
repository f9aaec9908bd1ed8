// A TCP proxy before the server, to reset or stall signaling sockets.
import net from 'node:net';
import { once } from 'node:events';

export class Proxy {
  static async start(target) {
    const proxy = new Proxy();
    const { hostname, port } = new URL(target);
    proxy.pairs = new Set();
    proxy.accepted = 0;
    proxy.server = net.createServer((client) => {
      proxy.accepted++;
      const upstream = net.connect(Number(port), hostname);
      const pair = { client, upstream };
      proxy.pairs.add(pair);
      const end = () => { client.destroy(); upstream.destroy(); proxy.pairs.delete(pair); };
      for (const socket of [client, upstream]) {
        socket.on('error', end);
        socket.on('close', end);
      }
      client.pipe(upstream);
      upstream.pipe(client);
    }).listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  /** The meeting with its signaling sent through the proxy. */
  through(meeting) {
    const url = new URL(meeting.MediaPlacement.SignalingUrl);
    url.port = String(this.port);
    return { ...meeting, MediaPlacement: { ...meeting.MediaPlacement, SignalingUrl: url.toString() } };
  }

  /** Ends every open socket with a TCP reset. */
  reset() {
    for (const { client, upstream } of this.pairs) { client.resetAndDestroy(); upstream.resetAndDestroy(); }
  }

  /** Lets nothing more through on the sockets that are open; new ones work. */
  stall() {
    for (const { client, upstream } of this.pairs) {
      client.unpipe(upstream);
      upstream.unpipe(client);
      client.pause();
      upstream.pause();
    }
  }

  async stop() {
    for (const { client, upstream } of this.pairs) { client.destroy(); upstream.destroy(); }
    this.server.close();
    await once(this.server, 'close');
  }
}
