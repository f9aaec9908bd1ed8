// Runs in the browser: one attendee on the unmodified client, with a microphone
// that plays a tone, a camera that shows a colour, and ears and eyes that tell
// which tones and colours arrive.
import * as chime from 'amazon-chime-sdk-js';

const rate = 48_000;

class Person {
  constructor() {
    this.log = [];
    this.present = {};
    this.dropped = {};
    this.volume = {};
    this.muted = {};
    this.signal = {};
    this.active = [];
    this.messages = [];
    this.transcripts = [];
    this.joins = {};
    this.leaves = {};
    this.context = new AudioContext({ sampleRate: rate });
    this.heldUp = 0; // the longest time in which the machine let this page do nothing, in milliseconds
    let last = performance.now();
    setInterval(() => {
      const now = performance.now();
      this.heldUp = Math.max(this.heldUp, now - last - 100);
      last = now;
    }, 100);
  }

  note(name, detail) { this.log.push({ at: performance.now(), name, detail }); }

  count(name) { return this.log.filter((entry) => entry.name === name).length; }

  last(name) { return this.log.filter((entry) => entry.name === name).at(-1); }

  async join({ meeting, attendee, tone = 0, right = 0, audio, muteFirst = false, codec, simulcast = false, svc = false, unifiedPlan = true, policy }) {
    const logger = new chime.NoOpLogger();
    const devices = new chime.DefaultDeviceController(logger);
    const configuration = new chime.MeetingSessionConfiguration({ Meeting: meeting }, { Attendee: attendee });
    configuration.enableSimulcastForUnifiedPlanChromiumBasedBrowsers = simulcast;
    configuration.enableSVC = svc;
    // Off by default up to 1.16, always on from 3.0.
    configuration.enableUnifiedPlanForChromiumBasedBrowsers = unifiedPlan;
    if (policy === 'priority') {
      configuration.videoDownlinkBandwidthPolicy = new chime.VideoPriorityBasedPolicy(logger);
      configuration.videoDownlinkBandwidthPolicy.addObserver({
        tileWillBePausedByDownlinkPolicy: (tile) => this.note('tilePaused', tile),
        tileWillBeUnpausedByDownlinkPolicy: (tile) => this.note('tileUnpaused', tile),
      });
    }
    this.session = new chime.DefaultMeetingSession(configuration, logger, devices);
    this.av = this.session.audioVideo;
    this.me = attendee.AttendeeId;
    if (codec) {
      const known = { vp8: 'vp8', h264: 'h264ConstrainedBaselineProfile', vp9: 'vp9Profile0', av1: 'av1Main' };
      const preferences = [codec].flat().map((name) => chime.VideoCodecCapability[known[name]]());
      this.av.setVideoCodecSendPreferences(preferences);
      this.av.setContentShareVideoCodecPreferences(preferences);
    }
    // Clients before 2.8 have no profiles.
    if (audio) this.av.setAudioProfile(chime.AudioProfile[audio.profile ?? 'fullbandSpeechMono'](audio.redundancy));
    const note = (name) => (...args) => this.note(name, args.map((value) => {
      if (typeof value?.statusCode === 'function') return chime.MeetingSessionStatusCode[value.statusCode()];
      try { return JSON.parse(JSON.stringify(value ?? null)); } catch { return String(value); }
    }));
    this.av.addObserver({
      audioVideoDidStart: note('start'), audioVideoDidStartConnecting: note('connecting'), audioVideoDidStop: note('stop'),
      videoTileDidUpdate: (tile) => this.bind(tile), videoTileWasRemoved: (id) => document.getElementById(`tile-${id}`)?.remove(),
      remoteVideoSourcesDidChange: (sources) => { this.sources = sources.map((source) => source.attendee.attendeeId); },
      videoSendDidBecomeUnavailable: note('videoUnavailable'),
      connectionDidBecomePoor: note('poor'),
      videoAvailabilityDidChange: (availability) => { this.mayFilm = availability.canStartLocalVideo; },
      audioVideoWasDemotedFromPrimaryMeeting: note('demoted'),
    });
    // Clients before 1.2 have no content share.
    this.av.addContentShareObserver?.({ contentShareDidStart: note('shareStart'), contentShareDidStop: note('shareStop') });
    this.av.realtimeSubscribeToAttendeeIdPresence((id, present, user, dropped) => {
      this.present[id] = present;
      if (present) { this.joins[id] = (this.joins[id] ?? 0) + 1; } else { this.leaves[id] = (this.leaves[id] ?? 0) + 1; this.dropped[id] = dropped; }
      this.note('presence', { id, present, user, dropped });
      if (present && this.volume[id] === undefined) {
        this.volume[id] = null;
        this.av.realtimeSubscribeToVolumeIndicator(id, (who, volume, muted, signal) => {
          if (volume !== null) this.volume[who] = volume;
          if (muted !== null) this.muted[who] = muted;
          if (signal !== null) this.signal[who] = signal;
        });
      }
    });
    // Clients before 1.6 have none.
    this.av.realtimeSubscribeToReceiveDataMessage?.('chat', (message) => this.messages.push({
      text: message.text(), from: message.senderAttendeeId, user: message.senderExternalUserId, throttled: message.throttled, at: message.timestampMs,
    }));
    // Clients before 2.13 have none.
    this.av.transcriptionController?.subscribeToTranscriptEvent((event) => this.transcripts.push(JSON.parse(JSON.stringify(event))));
    this.av.subscribeToActiveSpeakerDetector(new chime.DefaultActiveSpeakerPolicy(), (ids) => { this.active = ids; });

    this.oscillator = this.context.createOscillator();
    this.gain = this.context.createGain();
    const microphone = this.context.createMediaStreamDestination();
    if (right) {
      // A tone for each side.
      const sides = this.context.createChannelMerger(2);
      const other = this.context.createOscillator();
      const level = this.context.createGain();
      other.frequency.value = right;
      level.gain.value = 0.3;
      this.oscillator.connect(this.gain).connect(sides, 0, 0);
      other.connect(level).connect(sides, 0, 1);
      sides.connect(microphone);
      other.start();
    } else {
      this.oscillator.connect(this.gain).connect(microphone);
    }
    this.setTone(tone);
    this.oscillator.start();
    // Clients before 3.0 choose devices instead of starting them.
    await (this.av.startAudioInput ?? this.av.chooseAudioInputDevice).call(this.av, microphone.stream);

    this.element = document.createElement('audio');
    document.body.append(this.element);
    await this.av.bindAudioElement(this.element);
    if (muteFirst) this.av.realtimeMuteLocalAudio();
    this.av.start();
  }

  setTone(frequency) {
    this.gain.gain.value = frequency ? 0.3 : 0;
    if (frequency) this.oscillator.frequency.value = frequency;
  }

  /** The level in dB of each frequency in what comes out of the speaker. */
  async hear(frequencies, milliseconds = 600) {
    const stream = this.element.srcObject;
    if (!stream) return frequencies.map(() => -200);
    if (this.heardStream !== stream) {
      this.heardStream = stream;
      this.analyser = this.context.createAnalyser();
      this.analyser.fftSize = 8192;
      this.analyser.smoothingTimeConstant = 0;
      this.context.createMediaStreamSource(stream).connect(this.analyser);
    }
    const bins = new Float32Array(this.analyser.frequencyBinCount);
    const samples = [];
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      this.analyser.getFloatFrequencyData(bins);
      samples.push(frequencies.map((frequency) => {
        const bin = Math.round(frequency / (rate / this.analyser.fftSize));
        return Math.max(-200, ...bins.slice(bin - 2, bin + 3));
      }));
    }
    // The median of the samples: a single late packet decides nothing.
    return frequencies.map((_, i) => samples.map((sample) => sample[i]).sort((a, b) => a - b)[Math.floor(samples.length / 2)]);
  }

  /** The level in dB of each frequency, on the left and on the right. */
  async hearSides(frequencies) {
    if (!this.sides) {
      const split = this.context.createChannelSplitter(2);
      this.context.createMediaStreamSource(this.element.srcObject).connect(split);
      this.sides = [0, 1].map((side) => {
        const analyser = this.context.createAnalyser();
        analyser.fftSize = 8192;
        analyser.smoothingTimeConstant = 0;
        split.connect(analyser, side);
        return analyser;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    return this.sides.map((analyser) => {
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      return frequencies.map((frequency) => {
        const bin = Math.round(frequency / (rate / analyser.fftSize));
        return Math.max(-200, ...bins.slice(bin - 2, bin + 3));
      });
    });
  }

  /** A canvas that shows one colour, with a square that moves; a busy one costs much to code. */
  picture(colour, width = 640, height = 360, busy = false) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext('2d');
    let step = 0;
    const timer = setInterval(() => {
      pen.fillStyle = colour;
      pen.fillRect(0, 0, width, height);
      pen.fillStyle = 'black';
      pen.fillRect((step++ * 7) % (width - 40), 10, 40, 40);
      for (let i = 0; busy && i < 400; i++) {
        pen.fillStyle = `hsl(${Math.random() * 360} 100% ${Math.random() * 100}%)`;
        pen.fillRect(Math.random() * width, (Math.random() * height) / 2, 24, 16);
      }
    }, 1000 / 15);
    this.timers = [...(this.timers ?? []), timer];
    const stream = canvas.captureStream(15);
    // What is larger than usual shall stay so, however narrow the way seems.
    if (width > 960) stream.getVideoTracks()[0].contentHint = 'detail';
    return stream;
  }

  async camera(colour, width, height, busy) {
    await (this.av.startVideoInput ?? this.av.chooseVideoInputDevice).call(this.av, this.picture(colour, width, height, busy));
    this.av.startLocalVideoTile();
  }

  /** The browser's own camera, asked for pictures of this size. */
  async device(width, height) {
    this.av.chooseVideoInputQuality(width, height, 15);
    const [camera] = await this.av.listVideoInputDevices();
    await this.av.startVideoInput(camera.deviceId);
    this.av.startLocalVideoTile();
  }

  async cameraOff() {
    this.av.stopLocalVideoTile();
    await (this.av.stopVideoInput ? this.av.stopVideoInput() : this.av.chooseVideoInputDevice(null));
  }

  share(colour) { return this.av.startContentShare(this.picture(colour, 960, 540)); }

  /** A share with a tone in it, as that of a tab that plays something. */
  shareWithSound(colour, tone) {
    const oscillator = this.context.createOscillator();
    const level = this.context.createGain();
    const sound = this.context.createMediaStreamDestination();
    oscillator.frequency.value = tone;
    level.gain.value = 0.3;
    oscillator.connect(level).connect(sound);
    oscillator.start();
    const stream = this.picture(colour, 960, 540);
    stream.addTrack(sound.stream.getAudioTracks()[0]);
    return this.av.startContentShare(stream);
  }

  stopShare() { this.av.stopContentShare(); }

  bind(tile) {
    if (tile.tileId === null || tile.localTile) return;
    let video = document.getElementById(`tile-${tile.tileId}`);
    if (!video) {
      video = document.createElement('video');
      video.id = `tile-${tile.tileId}`;
      video.width = 320;
      video.height = 180;
      document.body.append(video);
    }
    video.dataset.attendee = tile.boundAttendeeId;
    video.dataset.tile = tile.tileId;
    this.av.bindVideoElement(tile.tileId, video);
  }

  /** What each remote tile shows: attendee, colour in the middle, frames so far. */
  tiles() {
    return [...document.querySelectorAll('video')].filter((video) => video.dataset.attendee).map((video) => {
      const canvas = document.createElement('canvas');
      canvas.width = 32;
      canvas.height = 18;
      const pen = canvas.getContext('2d', { willReadFrequently: true });
      pen.drawImage(video, 0, 0, 32, 18);
      const [red, green, blue] = pen.getImageData(16, 14, 1, 1).data;
      return {
        attendee: video.dataset.attendee, tile: Number(video.dataset.tile), red, green, blue,
        frames: video.getVideoPlaybackQuality().totalVideoFrames, width: video.videoWidth, height: video.videoHeight,
      };
    });
  }

  /** The codec that the camera or content is sent with, from the browser's statistics. */
  async codecs(kind, direction) {
    const report = await this.session.audioVideoController.rtcPeerConnection.getStats();
    const found = [];
    report.forEach((entry) => {
      if (entry.type === direction && entry.kind === kind && entry.codecId) found.push(report.get(entry.codecId).mimeType);
    });
    return found;
  }

  /** Every statistic of the browser's peer connection. */
  async stats() {
    const entries = [];
    (await this.session.audioVideoController.rtcPeerConnection.getStats()).forEach((entry) => entries.push({ ...entry }));
    return entries;
  }

  send(text, lifetime) { this.av.realtimeSendDataMessage('chat', text, lifetime); }

  /** From a replica into its primary, as an attendee of that; tells the name of the status. */
  async promote(attendee) {
    const credentials = new chime.MeetingSessionCredentials();
    credentials.attendeeId = attendee.AttendeeId;
    credentials.externalUserId = attendee.ExternalUserId;
    credentials.joinToken = attendee.JoinToken;
    const status = await this.av.promoteToPrimaryMeeting(credentials);
    return chime.MeetingSessionStatusCode[status.statusCode()];
  }

  demote() { this.av.demoteFromPrimaryMeeting(); }

  async leave() {
    this.av.stop();
    for (const timer of this.timers ?? []) clearInterval(timer);
  }
}

window.person = new Person();
