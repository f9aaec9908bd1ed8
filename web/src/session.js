import {
  ConsoleLogger, DefaultActiveSpeakerPolicy, DefaultMeetingSession, LogLevel, MeetingSessionConfiguration, MeetingSessionStatusCode,
} from 'amazon-chime-sdk-js';
import { displayName } from './names.js';

export const newLogger = () => new ConsoleLogger('meeting', LogLevel.WARN);

// Who joins late sees what was said in the last five minutes, the longest that a
// data message may live.
const chatTopic = 'chat';
const chatLifetime = 5 * 60 * 1000;
export const maxMessageBytes = 2048;

const contentMark = '#content';

async function call(path, body) {
  let response;
  try {
    response = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  } catch {
    throw new Error('The server cannot be reached. Check your connection and try again.');
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) throw new Error(answer?.message ?? 'The server gave an answer that this page does not understand. Try again in a moment.');
  return answer;
}

// takeSeat asks the backend for the Meeting and an Attendee of one's own.
export const takeSeat = (room, name) => call('/meet/api/join', { room, name });

// Session is one stay in a meeting: a thin layer over the media client that keeps what
// the page shows. Events, all CustomEvents on the session:
//
//   state     connecting | reconnecting | connected, in .state
//   person    detail { person, left, dropped }: somebody came, changed or went
//   levels    volumes, mute marks or signals changed
//   share     .shares changed
//   sharing   .sharing, one's own screen, changed
//   message   detail { id, name, text, time, own }
//   notice    detail { text, kind }: something to tell
//   stop      detail { reason }: it is over
export class Session extends EventTarget {
  people = new Map(); // by AttendeeId: { id, name, self, muted, volume, signal, speaking, tile }
  shares = new Map(); // by AttendeeId of the sharer: { id, name, tile }; others' screens only
  messages = [];
  muted = false;
  cameraOn = false;
  sharing = false;
  state = 'connecting';
  connectedAt = 0; // when the first connection stood
  #ended = false;
  #byMe = '';

  constructor(room, seat, devices, logger) {
    super();
    this.room = room;
    this.devices = devices;
    this.meetingId = seat.Meeting.MeetingId;
    this.selfId = seat.Attendee.AttendeeId;
    this.selfName = displayName(seat.Attendee.ExternalUserId);
    const configuration = new MeetingSessionConfiguration({ Meeting: seat.Meeting }, { Attendee: seat.Attendee });
    this.session = new DefaultMeetingSession(configuration, logger, devices.controller);
    this.av = this.session.audioVideo;
    this.#observe();
  }

  // start joins. audio is the element through which the meeting is heard.
  async start({ audio, muted, camera }) {
    this.muted = muted;
    if (muted) this.av.realtimeMuteLocalAudio();
    if (this.devices.speaker && this.devices.canChooseSpeaker) {
      await this.av.chooseAudioOutput(this.devices.speaker).catch(() => this.devices.useSpeaker(''));
    }
    await this.av.bindAudioElement(audio).catch(() => this.#notice('The browser holds back the sound. Click anywhere on the page to hear the meeting.', 'error'));
    this.av.start();
    if (camera) await this.setCamera(true);
  }

  #observe() {
    const av = this.av;
    av.addObserver({
      audioVideoDidStartConnecting: again => this.#enter(again ? 'reconnecting' : 'connecting'),
      audioVideoDidStart: () => {
        this.connectedAt ||= performance.now();
        this.#emit('poor', { poor: false }); // a new connection begins in good health, without a word
        // A connection that fails takes one's own tile with it.
        if (this.cameraOn && !this.av.hasStartedLocalVideoTile()) this.av.startLocalVideoTile();
        this.#enter('connected');
      },
      audioVideoDidStop: status => this.#stopped(status.statusCode()),
      videoTileDidUpdate: tile => this.#tileChanged(tile),
      videoTileWasRemoved: id => this.#tileRemoved(id),
      connectionDidBecomePoor: () => this.#emit('poor', { poor: true }),
      connectionDidBecomeGood: () => this.#emit('poor', { poor: false }),
      connectionDidSuggestStopVideo: () => this.#notice('Your connection is slow. Turning off your camera helps the sound.'),
      videoSendDidBecomeUnavailable: () => {
        this.cameraOn = false;
        this.#notice('No more cameras fit into this meeting, or yours is not allowed to be shown.', 'error');
        this.#emit('camera');
      },
    });
    av.addContentShareObserver({
      contentShareDidStart: () => this.#setSharing(true),
      contentShareDidStop: () => this.#setSharing(false),
    });
    av.realtimeSubscribeToAttendeeIdPresence((id, present, userId, dropped) => this.#presence(id, present, userId, dropped));
    av.realtimeSubscribeToMuteAndUnmuteLocalAudio(muted => {
      this.muted = muted;
      const self = this.people.get(this.selfId);
      if (self) self.muted = muted;
      this.#emit('levels');
    });
    av.realtimeSubscribeToReceiveDataMessage(chatTopic, message => this.#received(message));
    av.subscribeToActiveSpeakerDetector(new DefaultActiveSpeakerPolicy(), ids => {
      for (const person of this.people.values()) person.speaking = ids.includes(person.id);
      const loudest = this.people.get(ids[0]);
      if (loudest) loudest.spokeAt = performance.now();
      this.#emit('levels');
    });
  }

  #presence(id, present, userId, dropped) {
    if (id.endsWith(contentMark)) return; // a screen, not a person
    if (!present) {
      const person = this.people.get(id);
      if (!person) return;
      this.people.delete(id);
      this.av.realtimeUnsubscribeFromVolumeIndicator(id, person.listener);
      this.#emit('person', { person, left: true, dropped: Boolean(dropped) });
      return;
    }
    const known = this.people.get(id);
    if (known) return;
    const self = id === this.selfId;
    const person = {
      id, self, name: displayName(userId), muted: self ? this.muted : false, volume: 0, signal: 1, speaking: false, spokeAt: 0, tile: null,
    };
    person.listener = (_, volume, muted, signal) => {
      if (volume !== null) person.volume = volume;
      if (muted !== null) person.muted = self ? this.muted : muted;
      if (signal !== null) person.signal = signal;
      this.#emit('levels');
    };
    person.tile = this.#waiting.get(id) ?? null;
    this.#waiting.delete(id);
    this.people.set(id, person);
    this.av.realtimeSubscribeToVolumeIndicator(id, person.listener);
    this.#emit('person', { person, left: false });
  }

  #waiting = new Map(); // tiles that came before their attendee

  #tileChanged(tile) {
    const id = tile.boundAttendeeId;
    if (!id || tile.tileId === null) return;
    if (tile.isContent) {
      const sharer = id.slice(0, -contentMark.length);
      if (sharer === this.selfId) return; // one's own screen in one's own window is a hall of mirrors
      if (this.shares.get(sharer)?.tile === tile.tileId) return;
      this.shares.set(sharer, { id: sharer, name: this.people.get(sharer)?.name ?? displayName(tile.boundExternalUserId), tile: tile.tileId });
      this.#emit('share');
      return;
    }
    // A tile outlives its picture: one's own the camera, another's a lost connection.
    const shown = tile.boundVideoStream ? tile.tileId : null;
    const person = this.people.get(id);
    if (!person) {
      this.#waiting.set(id, shown);
    } else if (person.tile !== shown) {
      person.tile = shown;
      this.#emit('person', { person, left: false });
    }
  }

  #tileRemoved(tileId) {
    for (const [id, tile] of this.#waiting) if (tile === tileId) this.#waiting.delete(id);
    for (const person of this.people.values()) {
      if (person.tile !== tileId) continue;
      person.tile = null;
      this.#emit('person', { person, left: false });
    }
    for (const [id, share] of this.shares) {
      if (share.tile !== tileId) continue;
      this.shares.delete(id);
      this.#emit('share');
    }
  }

  bind(tile, element) {
    this.av.bindVideoElement(tile, element);
  }

  // show pauses the video of a tile that is not in sight, so that it is not sent.
  show(tile, visible) {
    if (visible) this.av.unpauseVideoTile(tile);
    else this.av.pauseVideoTile(tile);
  }

  setMuted(muted) {
    if (muted) this.av.realtimeMuteLocalAudio();
    else this.av.realtimeUnmuteLocalAudio();
  }

  async setCamera(on) {
    if (on) {
      if (!this.devices.camera && !(await this.devices.openCamera())) {
        this.#emit('camera');
        return false;
      }
      this.av.startLocalVideoTile();
    } else {
      this.av.stopLocalVideoTile();
      await this.devices.closeCamera();
    }
    this.cameraOn = on;
    this.#emit('camera');
    return true;
  }

  async setSharing(on) {
    if (!on) {
      this.av.stopContentShare();
      return;
    }
    try {
      await this.av.startContentShareFromScreenCapture();
    } catch (error) {
      if (/NotAllowed|Permission/.test(`${error?.name} ${error?.cause?.name}`)) return; // the person thought better of it
      this.#notice('Your screen could not be shared. Try another window or tab.', 'error');
    }
  }

  #setSharing(on) {
    this.sharing = on;
    this.#emit('sharing');
  }

  async chooseSpeaker(id) {
    this.devices.useSpeaker(id);
    await this.av.chooseAudioOutput(id).catch(() => this.#notice('That speaker could not be used.', 'error'));
  }

  // say sends a chat message; it throws when it cannot be sent now.
  say(text) {
    if (this.state !== 'connected') throw new Error('You are not connected right now. Send it again in a moment.');
    this.av.realtimeSendDataMessage(chatTopic, text, chatLifetime);
    this.#add({ id: this.selfId, name: this.selfName, text, time: Date.now(), own: true });
  }

  #received(message) {
    const own = message.senderAttendeeId === this.selfId;
    if (own) { // messages come back to their sender only when they were refused
      if (message.throttled) this.#notice('Too many messages at once. Your last one was not delivered.', 'error');
      return;
    }
    const text = message.text();
    // A reconnection may bring again what is here already.
    if (this.messages.some(m => m.id === message.senderAttendeeId && m.time === message.timestampMs && m.text === text)) return;
    this.#add({ id: message.senderAttendeeId, name: displayName(message.senderExternalUserId), text, time: message.timestampMs, own: false });
  }

  #add(message) {
    this.messages.push(message);
    if (this.messages.length > 500) this.messages.shift();
    this.#emit('message', message);
  }

  // leave ends one's own stay; the others go on.
  leave() {
    this.#byMe ||= 'left';
    this.av.stop();
  }

  // endForAll ends the meeting; the server then tells every client, this one too.
  async endForAll() {
    this.#byMe = 'endedByMe'; // before the call: this client may be told before the answer is here
    try {
      await call('/meet/api/end', { room: this.room, meetingId: this.meetingId });
    } catch (error) {
      this.#byMe = '';
      throw error;
    }
    setTimeout(() => !this.#ended && this.av.stop(), 3000);
  }

  #stopped(code) {
    if (this.#ended) return;
    this.#ended = true;
    const reasons = {
      [MeetingSessionStatusCode.Left]: 'left',
      [MeetingSessionStatusCode.MeetingEnded]: 'ended',
      [MeetingSessionStatusCode.AudioAttendeeRemoved]: 'removed',
      [MeetingSessionStatusCode.AudioJoinedFromAnotherDevice]: 'elsewhere',
      [MeetingSessionStatusCode.AudioCallAtCapacity]: 'full',
      [MeetingSessionStatusCode.AudioAuthenticationRejected]: 'refused',
      [MeetingSessionStatusCode.SignalingBadRequest]: 'refused',
    };
    const reason = this.#byMe || reasons[code] || (this.connectedAt ? 'lost' : 'unreachable');
    this.av.unbindAudioElement();
    this.#emit('stop', { reason, code: MeetingSessionStatusCode[code] });
    Promise.resolve(this.devices.close()).then(() => this.session.destroy()).catch(() => {});
  }

  #enter(state) {
    this.state = state;
    this.#emit('state');
  }

  #notice(text, kind = 'info') {
    this.#emit('notice', { text, kind });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
