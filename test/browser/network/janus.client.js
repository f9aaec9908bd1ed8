// The same person in rooms of Janus: sound by an AudioBridge, the picture by a VideoRoom.
// It speaks Janus's own WebSocket interface.
const opaque = () => Math.random().toString(36).slice(2);

class Handle {
  constructor(room, plugin) { Object.assign(this, { room, plugin }); }

  async attach() {
    this.id = (await this.room.ask({ janus: 'attach', plugin: this.plugin })).data.id;
    return this;
  }

  /** Sends a request; comes back with the event that answers it. */
  async ask(body, jsep) {
    const { plugindata, jsep: answer } = await this.room.ask({ janus: 'message', handle_id: this.id, body, ...(jsep && { jsep }) });
    if (plugindata?.data?.error) throw new Error(`${body.request}: ${plugindata.data.error}`);
    return { data: plugindata?.data, jsep: answer };
  }

  trickleEnd() { return this.room.ask({ janus: 'trickle', handle_id: this.id, candidate: { completed: true } }, true); }
}

export class JanusRoom {
  constructor({ url, audioRoom, videoRoom }, subject, microphone, simulcast) {
    Object.assign(this, { url, audioRoom, videoRoom, subject, microphone, simulcast, pending: new Map(), connections: [] });
  }

  async open() {
    this.socket = new WebSocket(this.url, 'janus-protocol');
    await new Promise((resolve, reject) => { this.socket.onopen = resolve; this.socket.onerror = () => reject(new Error('Janus does not answer')); });
    this.socket.onerror = null;
    this.socket.onclose = () => { if (!this.over) this.subject.note('stop', 'the socket closed'); };
    this.socket.onmessage = ({ data }) => this.event(JSON.parse(data));
    this.session = (await this.ask({ janus: 'create' })).data.id;
    this.alive = setInterval(() => this.ask({ janus: 'keepalive' }, true), 20_000);
  }

  /** Sends a request and waits for what answers it; an acknowledgement alone does when quick. */
  ask(message, quick = false) {
    const transaction = opaque();
    return new Promise((resolve, reject) => {
      this.pending.set(transaction, { resolve, reject, quick });
      this.socket.send(JSON.stringify({ transaction, ...(this.session && { session_id: this.session }), ...message }));
    });
  }

  event(event) {
    this.subject.note('janus', JSON.stringify(event).slice(0, 1200));
    const waiting = this.pending.get(event.transaction);
    if (waiting && (event.janus !== 'ack' || waiting.quick)) {
      this.pending.delete(event.transaction);
      if (event.janus === 'error') waiting.reject(new Error(event.error.reason)); else waiting.resolve(event);
      return;
    }
    if (event.janus === 'hangup' || event.janus === 'timeout') this.subject.note('stop', `${event.janus} ${event.reason ?? ''}`);
    for (const publisher of event.plugindata?.data?.publishers ?? []) this.subscribe(publisher.id);
  }

  connection() {
    const connection = new RTCPeerConnection();
    this.connections.push(connection);
    return connection;
  }

  async join() {
    await this.open();
    this.audio = await new Handle(this, 'janus.plugin.audiobridge').attach();
    await this.audio.ask({ request: 'join', room: this.audioRoom, muted: false });
    const connection = this.connection();
    connection.addTrack(this.microphone.getAudioTracks()[0], this.microphone);
    const up = new Promise((resolve) => {
      connection.onconnectionstatechange = () => { this.subject.note('connection', connection.connectionState); if (connection.connectionState === 'connected') resolve(); };
    });
    connection.ontrack = ({ streams: [stream] }) => { this.subject.element.srcObject = stream; this.subject.element.play(); };
    await connection.setLocalDescription();
    await gathered(connection);
    const { jsep } = await this.audio.ask({ request: 'configure', muted: false }, connection.localDescription);
    await connection.setRemoteDescription(jsep);
    this.audio.trickleEnd();
    await up;
    this.subject.note('start');
    this.video = await new Handle(this, 'janus.plugin.videoroom').attach();
    const { data } = await this.video.ask({ request: 'join', ptype: 'publisher', room: this.videoRoom });
    for (const publisher of data.publishers ?? []) this.subscribe(publisher.id);
  }

  async film(stream) {
    const connection = this.connection();
    const encodings = this.simulcast
      ? [{ rid: 'h', scaleResolutionDownBy: 1, maxBitrate: 1_200_000 }, { rid: 'l', scaleResolutionDownBy: 4, maxBitrate: 300_000 }] // from the highest, as Janus wants
      : [{ maxBitrate: 1_400_000 }];
    connection.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings: encodings });
    await connection.setLocalDescription();
    await gathered(connection);
    const { jsep } = await this.video.ask({ request: 'configure', video: true, audio: false }, connection.localDescription);
    await connection.setRemoteDescription(jsep);
    this.video.trickleEnd();
  }

  async subscribe(feed) {
    this.subscription = await new Handle(this, 'janus.plugin.videoroom').attach();
    const { jsep } = await this.subscription.ask({ request: 'join', ptype: 'subscriber', room: this.videoRoom, streams: [{ feed }], use_msid: false });
    const connection = this.connection();
    connection.ontrack = ({ track, streams }) => {
      const video = document.createElement('video');
      video.muted = video.autoplay = true;
      video.srcObject = streams[0] ?? new MediaStream([track]);
      document.body.append(video);
      this.subject.watch(track);
    };
    await connection.setRemoteDescription(jsep);
    await connection.setLocalDescription();
    await gathered(connection);
    await this.subscription.ask({ request: 'start', room: this.videoRoom }, connection.localDescription);
    this.subscription.trickleEnd();
  }

  mute(on) { return this.audio.ask({ request: 'configure', muted: on }); }

  want(size) { return this.subscription.ask({ request: 'configure', streams: [{ mid: '0', substream: size === 'low' ? 0 : 1 }] }); }

  peerConnections() { return this.connections; }

  async leave() {
    this.over = true;
    for (const connection of this.connections) connection.close();
    clearInterval(this.alive);
    this.socket.close();
  }
}

/** All candidates are in the description: none is trickled. */
function gathered(connection) {
  return new Promise((resolve) => {
    const check = () => { if (connection.iceGatheringState === 'complete') resolve(); };
    connection.addEventListener('icegatheringstatechange', check);
    setTimeout(resolve, 500);
    check();
  });
}
