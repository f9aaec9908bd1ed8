import { DefaultDeviceController } from 'amazon-chime-sdk-js';
import { prefs } from './names.js';

// Devices is the person's microphone, camera and speaker, before and during a meeting,
// over the media client's device controller. Events: "change" (lists, choice or trouble).
export class Devices extends EventTarget {
  mics = [];
  cameras = [];
  speakers = [];
  mic = ''; // id of the open microphone, '' when none is open
  camera = '';
  speaker = prefs.get('speaker');
  micTrouble = ''; // '' | 'denied' | 'missing' | 'busy' | 'insecure' | 'failed'
  cameraTrouble = '';

  constructor(logger) {
    super();
    this.controller = new DefaultDeviceController(logger);
    // Labels become readable once a device was opened, which the lobby does itself, one
    // device at a time: the controller's own way fails when either of the two is missing.
    this.controller.setDeviceLabelTrigger(async () => new MediaStream());
    this.controller.addDeviceChangeObserver({
      audioInputsChanged: () => this.#plugged(),
      videoInputsChanged: () => this.#plugged(),
      audioOutputsChanged: () => this.#plugged(),
      audioInputStreamEnded: () => this.#lost('mic'),
      videoInputStreamEnded: () => this.#lost('camera'),
    });
  }

  get canChooseSpeaker() {
    return 'setSinkId' in HTMLMediaElement.prototype && this.speakers.length > 0;
  }

  async openMic(id = prefs.get('mic')) {
    return this.#open('mic', id, device => this.controller.startAudioInput(device));
  }

  async openCamera(id = prefs.get('camera')) {
    return this.#open('camera', id, device => this.controller.startVideoInput(device));
  }

  async closeCamera() {
    this.camera = '';
    await this.controller.stopVideoInput();
    this.#changed();
  }

  async close() {
    this.mic = '';
    this.camera = '';
    await Promise.allSettled([this.controller.stopAudioInput(), this.controller.stopVideoInput()]);
  }

  useSpeaker(id) {
    this.speaker = id;
    prefs.set('speaker', id);
    this.#changed();
  }

  async #open(kind, wanted, start) {
    const trouble = `${kind}Trouble`;
    if (!navigator.mediaDevices?.getUserMedia) {
      this[trouble] = 'insecure';
      this.#changed();
      return false;
    }
    await this.#list();
    const list = kind === 'mic' ? this.mics : this.cameras;
    const known = list.some(device => device.deviceId === wanted);
    let failure;
    for (const device of known ? [wanted, 'default'] : ['default']) {
      try {
        // A constraint without a device lets the browser take what it thinks best.
        await start(device === 'default' ? (kind === 'mic' ? { echoCancellation: true, noiseSuppression: true, autoGainControl: true } : { width: { ideal: 1280 }, height: { ideal: 720 } }) : device);
        failure = undefined;
        break;
      } catch (error) {
        failure = error;
        if (reason(error) === 'denied') break;
      }
    }
    this[trouble] = failure ? reason(failure) : '';
    await this.#list(); // with labels now
    this[kind] = failure ? '' : this.#inUse(kind, known ? wanted : '', list);
    if (!failure && known) prefs.set(kind, wanted);
    this.#changed();
    return !failure;
  }

  // choose opens a device that the person picked, and remembers it.
  async choose(kind, id) {
    prefs.set(kind, id);
    return kind === 'mic' ? this.openMic(id) : this.openCamera(id);
  }

  // remember keeps a choice for the next time that the device is opened.
  remember(kind, id) {
    prefs.set(kind, id);
  }

  #inUse(kind, asked) {
    const list = kind === 'mic' ? this.mics : this.cameras;
    return asked || list.find(device => device.deviceId === 'default')?.deviceId || list[0]?.deviceId || 'default';
  }

  async #list() {
    try {
      const all = await navigator.mediaDevices.enumerateDevices();
      const of = kind => all.filter(device => device.kind === kind && device.deviceId);
      this.mics = of('audioinput');
      this.cameras = of('videoinput');
      this.speakers = of('audiooutput');
    } catch {
      this.mics = this.cameras = this.speakers = [];
    }
  }

  async #plugged() {
    await this.#list();
    this.#changed();
  }

  async #lost(kind) {
    if (!this[kind]) return;
    const name = kind === 'mic' ? 'microphone' : 'camera';
    const found = kind === 'mic' ? await this.openMic('') : false;
    if (!found) this[kind] = '';
    this.dispatchEvent(new CustomEvent('lost', { detail: { kind, name, found } }));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  // meter calls back with the microphone's level, 0 to 1, some 20 times a second until stopped.
  meter(listener) {
    const node = this.mic ? this.controller.createAnalyserNodeForAudioInput() : null;
    if (!node) {
      listener(0);
      return () => {};
    }
    const samples = new Float32Array(node.fftSize);
    const timer = setInterval(() => {
      node.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      const decibels = 20 * Math.log10(Math.sqrt(sum / samples.length) + 1e-6);
      listener(Math.min(1, Math.max(0, (decibels + 55) / 45)));
    }, 50);
    return () => {
      clearInterval(timer);
      node.removeOriginalInputs();
    };
  }
}

function reason(error) {
  const name = error?.cause?.name ?? error?.name ?? '';
  if (/NotAllowed|PermissionDenied|Security/.test(name)) return 'denied';
  if (/NotFound|DevicesNotFound|Overconstrained/.test(name)) return 'missing';
  if (/NotReadable|TrackStart|Abort/.test(name)) return 'busy';
  return 'failed';
}

// troubleText says in plain words what is wrong with a device and what to do.
export function troubleText(kind, trouble) {
  const name = kind === 'mic' ? 'microphone' : 'camera';
  switch (trouble) {
    case 'denied':
      return `The browser does not let this page use your ${name}. Allow it in the site settings, beside the address, and try again.`;
    case 'missing':
      return `No ${name} was found. Plug one in, then try again.`;
    case 'busy':
      return `Your ${name} is in use by another program. Close that one, then try again.`;
    case 'insecure':
      return `Browsers give the ${name} only to pages opened over https or on this machine itself (localhost).`;
    default:
      return `Your ${name} could not be started. Try another one, or try again.`;
  }
}
