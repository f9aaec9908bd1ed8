// A small transcription engine: it writes the pitch of what each attendee says.
import { createServer } from 'node:http';
import { createHash } from 'node:crypto';
import { once } from 'node:events';

const rate = 16_000;

export class Engine {
  static async start() {
    const engine = new Engine();
    engine.starts = [];
    engine.sockets = new Set();
    engine.streams = {};
    engine.server = createServer().listen(0, '127.0.0.1');
    engine.server.on('upgrade', (request, socket) => engine.accept(request, socket));
    await once(engine.server, 'listening');
    engine.url = `ws://127.0.0.1:${engine.server.address().port}`;
    return engine;
  }

  accept(request, socket) {
    const key = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`);
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => {});
    const streams = {};
    let rest = Buffer.alloc(0);
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      for (;;) {
        const frame = take(rest);
        if (!frame) return;
        rest = rest.subarray(frame.size);
        if (frame.opcode === 8) socket.end();
        if (frame.opcode === 9) socket.write(frameOf(10, frame.payload));
        if (frame.opcode === 1) this.told(JSON.parse(frame.payload), socket, streams);
        if (frame.opcode === 2) this.heard(frame.payload, socket, streams);
      }
    });
  }

  told(message, socket, streams) {
    if (message.type === 'start') {
      this.starts.push(message);
      send(socket, this.refusal ? { type: 'error', message: this.refusal } : { type: 'ready' });
    }
    if (message.type === 'stream') this.streams[message.stream] = streams[message.stream] = { ...message, pcm: [] };
    if (message.type === 'quiet') this.say(socket, streams[message.stream], false);
  }

  heard(message, socket, streams) {
    const stream = streams[message.readUInt32LE(0)];
    for (let i = 12; i < message.length; i += 2) stream.pcm.push(message.readInt16LE(i));
    if (stream.pcm.length >= rate) this.say(socket, stream, true);
  }

  say(socket, stream, partial) {
    const crossings = stream.pcm.filter((value, i) => i > 0 && stream.pcm[i - 1] < 0 && value >= 0).length;
    if (stream.pcm.length) stream.pitch = Math.round(crossings * rate / stream.pcm.length / 100) * 100;
    stream.pcm = [];
    send(socket, { type: 'transcript', results: [{ stream: stream.stream, text: `Pitch ${stream.pitch}.`, isPartial: partial }] });
  }

  /** Ends every connection, as a crash does. */
  drop() { for (const socket of this.sockets) socket.destroy(); }

  stop() {
    this.drop();
    this.server.close();
  }
}

/** The first frame of what a client sent, undefined while it is not whole. */
function take(data) {
  if (data.length < 6) return undefined;
  let length = data[1] & 0x7f;
  let at = 2;
  if (length === 126) { length = data.readUInt16BE(2); at = 4; }
  if (length === 127) { length = Number(data.readBigUInt64BE(2)); at = 10; }
  if (data.length < at + 4 + length) return undefined;
  const mask = data.subarray(at, at + 4);
  const payload = Buffer.from(data.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < payload.length; i++) payload[i] ^= mask[i & 3];
  return { opcode: data[0] & 0xf, payload, size: at + 4 + length };
}

function frameOf(opcode, payload) {
  const head = payload.length < 126 ? Buffer.from([0x80 | opcode, payload.length]) : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}

const send = (socket, message) => socket.write(frameOf(1, Buffer.from(JSON.stringify(message))));
