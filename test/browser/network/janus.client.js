// The same person in rooms of Janus: sound by an AudioBridge, the picture by a VideoRoom.
// It speaks Janus's own HTTP interface, with a long poll for what comes.
const opaque = () => Math.random().toString(36).slice(2);

class Handle {
  constructor(room, plugin) { Object.assign(this, { room, plugin, waiting: [] }); }

  async attach() {
    this.id = (await this.room.post('', { janus: 'attach', plugin: this.plugin })).data.id;
    this.room.handles.set(this.id, this);
    return this;
  }

  /** Sends a request; comes back with the event that answers it. */
  async ask(body, jsep) {
    const transaction = opaque();
    const answered = new Promise((resolve, reject) => this.room.pending.set(transaction, { resolve, reject }));
    const direct = await this.room.post(`/${this.id}`, { janus: 'message', transaction, body, ...(jsep && { jsep }) });
    if (direct.janus === 'success') { this.room.pending.delete(transaction); return direct.plugindata; }
    return answered;
  }

  trickleEnd() { return this.room.post(`/${this.id}`, { janus: 'trickle', candidate: { completed: true } }); }
}

export class JanusRoom {
  constructor({ url, audioRoom, videoRoom }, subject, microphone, simulcast) {
    Object.assign(this, { url, audioRoom, videoRoom, subject, microphone, simulcast, handles: new Map(), pending: new Map(), connections: [] });
  }

  async post(path, message) {
    const answer = await (await fetch(this.url + (this.session ? `/${this.session}` : '') + path, { method: 'POST', body: JSON.stringify({ transaction: opaque(), ...message }) })).json();
    if (answer.janus === 'error') throw new Error(`${JSON.stringify(message).slice(0, 200)}: ${answer.error.reason}`);
    return answer;
  }

  async poll() {
    while (!this.over) {
      let events;
      try {
        events = [].concat(await (await fetch(`${this.url}/${this.session}?maxev=10`)).json());
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 300));
        continue;
      }
      for (const event of events) this.event(event);
    }
  }

  event(event) {
    const data = event.plugindata?.data;
    const waiting = this.pending.get(event.transaction);
    if (waiting && (event.janus === 'event' || event.janus === 'error')) {
      this.pending.delete(event.transaction);
      const error = data?.error ?? event.error?.reason;
      if (error) waiting.reject(new Error(error)); else waiting.resolve({ data, jsep: event.jsep });
      return;
    }
    if (event.janus === 'hangup' || event.janus === 'timeout') this.subject.note('stop', `${event.janus} ${event.reason ?? ''}`);
    for (const publisher of data?.publishers ?? []) this.subscribe(publisher.id);
  }

  connection() {
    const connection = new RTCPeerConnection();
    this.connections.push(connection);
    return connection;
  }

  async join() {
    this.session = (await this.post('', { janus: 'create' })).data.id;
    this.polling = this.poll();
    this.audio = await new Handle(this, 'janus.plugin.audiobridge').attach();
    await this.audio.ask({ request: 'join', room: this.audioRoom, muted: false, expected_loss: 0 });
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
      ? [{ rid: 'l', scaleResolutionDownBy: 4, maxBitrate: 300_000 }, { rid: 'h', scaleResolutionDownBy: 1, maxBitrate: 1_200_000 }]
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
    await this.post('', { janus: 'destroy' }).catch(() => {});
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
