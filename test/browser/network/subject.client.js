// Runs in the browser: one person whose sound and picture can be recognised at the
// other end, and who notes what arrives and when. The clock is Date.now everywhere:
// all browsers are on one machine.
import * as chime from 'amazon-chime-sdk-js';
import { JanusRoom } from './janus.client.js';

const bits = 32;
const cells = 16; // two rows of them, from the left and the top

/** The stamp is 27 bits of milliseconds and 5 that check them. */
const seal = (ms) => { const low = ms % 2 ** 27; return low * 32 + (low * 2654435761 % 2 ** 32 >>> 27); };

/** A camera whose picture moves and has the time of its making in it. */
class Camera {
  constructor(width, height, rate) {
    const wide = width + 256, high = height + 128;
    this.texture = new Uint8Array(wide * high);
    // Spots of several sizes that run into one another, as in what a camera sees: edges
    // as sharp as those of blocks would make key frames several times as large.
    const noise = (x, y) => { let n = Math.imul(x, 374761393) + Math.imul(y, 668265263); n = Math.imul(n ^ (n >>> 13), 1274126177); return (n ^ (n >>> 16)) & 255; };
    const ease = (t) => t * t * (3 - 2 * t);
    const spots = (x, y, size, shift) => {
      const left = Math.floor(x / size), top = Math.floor(y / size), a = ease(x / size - left), b = ease(y / size - top);
      const row = (at) => noise(left + shift, at) * (1 - a) + noise(left + 1 + shift, at) * a;
      return row(top) * (1 - b) + row(top + 1) * b;
    };
    for (let y = 0; y < high; y++) {
      for (let x = 0; x < wide; x++) {
        this.texture[y * wide + x] = 16 + (spots(x, y, 64, 0) * 0.55 + spots(x, y, 16, 999) * 0.15 + spots(x, y, 4, 7777) * 0.04);
      }
    }
    this.generator = new MediaStreamTrackGenerator({ kind: 'video' });
    const writer = this.generator.writable.getWriter();
    const frame = new Uint8Array(width * height * 3 / 2).fill(128);
    let step = 0;
    this.timer = setInterval(() => {
      const now = Date.now();
      const dx = Math.round(128 + 127 * Math.sin(step / 40)), dy = Math.round(64 + 63 * Math.cos(step / 31));
      step++;
      for (let y = 0; y < height; y++) frame.set(this.texture.subarray((y + dy) * wide + dx, (y + dy) * wide + dx + width), y * width);
      const word = seal(now), w = width / cells, h = height / 16;
      for (let bit = 0; bit < bits; bit++) {
        const left = (bit % cells) * w, top = Math.floor(bit / cells) * h;
        const luma = Math.floor(word / 2 ** (bits - 1 - bit)) % 2 ? 235 : 16;
        for (let y = Math.floor(top); y < top + h; y++) frame.fill(luma, y * width + left, y * width + left + w);
      }
      const picture = new VideoFrame(frame, { format: 'I420', codedWidth: width, codedHeight: height, timestamp: Math.round(performance.now() * 1000) });
      if (writer.desiredSize > 0) writer.write(picture).catch(() => {}); else picture.close();
    }, 1000 / rate);
    this.stream = new MediaStream([this.generator]);
    // The client's policies look at what a camera says of itself.
    this.generator.getSettings = () => ({ width, height, frameRate: rate, deviceId: 'synthetic' });
  }

  stop() { clearInterval(this.timer); this.generator.stop(); }
}

/** The time in a picture, or -1. */
async function stampOf(frame, buffer) {
  const { width, height } = frame.visibleRect;
  const high = Math.max(2, Math.floor(height / 8 / 2) * 2);
  const rect = { x: frame.visibleRect.x, y: frame.visibleRect.y, width: width - width % 2, height: high };
  const [{ stride, offset }] = await frame.copyTo(buffer, { rect });
  let word = 0;
  for (let bit = 0; bit < bits; bit++) {
    const x = Math.floor((bit % cells + 0.5) * width / cells), y = Math.floor((Math.floor(bit / cells) + 0.5) * height / 16);
    word = word * 2 + (buffer[offset + y * stride + x] > 126 ? 1 : 0);
  }
  const low = Math.floor(word / 32);
  return seal(low) === word ? low : -1;
}

class Subject {
  constructor() {
    this.context = new AudioContext({ sampleRate: 48_000, latencyHint: 'interactive' });
    this.events = [];
    this.frames = []; // flat: arrival, stamp, width, height
    this.watched = new Set();
  }

  note(name, detail) { this.events.push({ at: Date.now(), name, detail: String(detail ?? '') }); }

  /** A microphone that is silent until speak. */
  async microphone() {
    await this.context.audioWorklet.addModule('/worklet.js');
    const pcm = new Int16Array(await (await fetch('/sound')).arrayBuffer());
    this.mouth = new AudioWorkletNode(this.context, 'mouth', { numberOfInputs: 0, outputChannelCount: [1], processorOptions: { sound: Float32Array.from(pcm, (value) => value / 32768) } });
    const out = this.context.createMediaStreamDestination();
    out.channelCount = 1;
    this.mouth.connect(out);
    this.element = document.createElement('audio');
    document.body.append(this.element);
    return out.stream;
  }

  /** Joins; server is 'belfry' or 'janus'. Comes back when the session runs. */
  async join({ server, simulcast, ...where }) {
    const microphone = await this.microphone();
    const begun = Date.now();
    this.note('join');
    if (server === 'janus') {
      this.room = new JanusRoom(where, this, microphone, simulcast);
      await this.room.join();
      return Date.now() - begun;
    }
    const { meeting, attendee } = where;
    const logger = new chime.NoOpLogger();
    const devices = new chime.DefaultDeviceController(logger);
    const configuration = new chime.MeetingSessionConfiguration({ Meeting: meeting }, { Attendee: attendee });
    configuration.enableSimulcastForUnifiedPlanChromiumBasedBrowsers = simulcast;
    if (simulcast) {
      this.policy = new chime.VideoPriorityBasedPolicy(logger);
      configuration.videoDownlinkBandwidthPolicy = this.policy;
    }
    this.session = new chime.DefaultMeetingSession(configuration, logger, devices);
    this.av = this.session.audioVideo;
    const started = new Promise((resolve) => {
      this.av.addObserver({
        audioVideoDidStart: () => { this.note('start'); resolve(); },
        audioVideoDidStartConnecting: (again) => this.note('connecting', again),
        audioVideoDidStop: (status) => this.note('stop', chime.MeetingSessionStatusCode[status.statusCode()]),
        videoTileDidUpdate: (tile) => this.bind(tile),
        connectionDidBecomePoor: () => this.note('poor'),
      });
    });
    const known = new Set();
    this.av.realtimeSubscribeToAttendeeIdPresence((id) => {
      if (known.has(id)) return;
      known.add(id);
      this.av.realtimeSubscribeToVolumeIndicator(id, (_, volume, muted) => { if (muted !== null) this.note('muted', muted); });
    });
    await this.av.startAudioInput(microphone);
    await this.av.bindAudioElement(this.element);
    this.av.start();
    await started;
    return Date.now() - begun;
  }

  bind(tile) {
    if (tile.tileId === null || tile.localTile) return;
    this.other = tile.boundAttendeeId;
    let video = document.getElementById(`tile-${tile.tileId}`);
    if (!video) {
      video = document.createElement('video');
      video.id = `tile-${tile.tileId}`;
      video.width = 320;
      video.height = 180;
      document.body.append(video);
      this.av.bindVideoElement(tile.tileId, video);
    }
    if (tile.paused !== this.paused) this.note('paused', this.paused = tile.paused);
    const track = tile.boundVideoStream?.getVideoTracks()[0];
    if (track) this.watch(track);
  }

  /** Notes the pictures of a track until it ends. */
  async watch(track) {
    if (this.watched.has(track.id)) return;
    this.watched.add(track.id);
    const reader = new MediaStreamTrackProcessor({ track: track.clone() }).readable.getReader();
    let buffer = new Uint8Array(1 << 20);
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      const arrival = Date.now();
      try {
        const { width, height } = frame.visibleRect;
        this.frames.push(arrival, await stampOf(frame, buffer), width, height);
      } catch (error) {
        this.note('unreadable', error);
      }
      frame.close();
    }
  }

  async film({ width, height, rate }) {
    this.camera = new Camera(width, height, rate);
    if (this.room) { await this.room.film(this.camera.stream); return; }
    await this.av.startVideoInput(this.camera.stream);
    this.av.startLocalVideoTile();
  }

  speak(on) { this.mouth.port.postMessage(on); }

  async mute(on) {
    const at = Date.now();
    if (this.room) await this.room.mute(on);
    else if (on) this.av.realtimeMuteLocalAudio();
    else this.av.realtimeUnmuteLocalAudio();
    return at;
  }

  /** Asks for the other's picture in this size: 'low' or 'high'. */
  async want(size) {
    const at = Date.now();
    if (this.room) { await this.room.want(size); return at; }
    const target = size === 'low' ? chime.TargetDisplaySize.Low : chime.TargetDisplaySize.High;
    const preferences = chime.VideoPreferences.prepare();
    preferences.add(new chime.VideoPreference(this.other, 1, target));
    this.policy.chooseRemoteVideoSources(preferences.build());
    return at;
  }

  /** Begins to record what comes out of the loudspeaker. */
  listen() {
    if (!this.element.srcObject) throw new Error('no sound comes in');
    this.ear = new AudioWorkletNode(this.context, 'ear', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    this.hearing();
    this.listening = setInterval(() => this.hearing(), 50);
  }

  /** A reconnection changes the stream. */
  hearing() {
    const stream = this.element.srcObject;
    const track = stream?.getAudioTracks()[0];
    if (!track || track === this.heard) return;
    this.heard = track;
    this.source?.disconnect();
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(this.ear);
  }

  /** What the mouth said when. */
  async said() {
    const answer = new Promise((resolve) => { this.mouth.port.onmessage = ({ data }) => resolve(data); });
    this.mouth.port.postMessage('times');
    return { times: await answer, events: this.events, stats: await this.stats('outbound-rtp') };
  }

  /** What was heard and seen. */
  async noted() {
    let sound = { times: [], chunks: [] };
    if (this.ear) {
      const answer = new Promise((resolve) => { this.ear.port.onmessage = ({ data }) => resolve(data); });
      this.ear.port.postMessage('all');
      sound = await answer;
    }
    const pcm = new Uint8Array(sound.chunks.length * 256);
    sound.chunks.forEach((chunk, i) => pcm.set(new Uint8Array(chunk.buffer), i * 256));
    let text = '';
    for (let i = 0; i < pcm.length; i += 0x6000) text += btoa(String.fromCharCode(...pcm.subarray(i, i + 0x6000)));
    return { times: sound.times, pcm: text, frames: this.frames, events: this.events, stats: await this.stats('inbound-rtp') };
  }

  noticed() { return this.events; }

  /** The height of the largest picture that is being sent. */
  async sending() {
    const now = {};
    for (const entry of await this.stats('outbound-rtp')) if (entry.kind === 'video') now[entry.ssrc] = { frames: entry.framesEncoded, height: entry.frameHeight ?? 0 };
    const was = this.sent ?? {};
    this.sent = now;
    return Math.max(0, ...Object.keys(now).filter((ssrc) => now[ssrc].frames > (was[ssrc]?.frames ?? 0)).map((ssrc) => now[ssrc].height));
  }

  /** The height of the last picture that came. */
  height() { return this.frames.at(-1) ?? 0; }

  peerConnections() { return this.room ? this.room.peerConnections() : [this.session.audioVideoController.rtcPeerConnection].filter(Boolean); }

  async stats(type) {
    const found = [];
    for (const connection of this.peerConnections()) {
      (await connection.getStats()).forEach((entry) => { if (entry.type === type || entry.type === 'candidate-pair' && entry.nominated) found.push({ ...entry }); });
    }
    return found;
  }

  async leave() {
    clearInterval(this.listening);
    this.camera?.stop();
    if (this.room) await this.room.leave();
    else this.av?.stop();
    await this.context.close();
  }
}

window.subject = new Subject();
