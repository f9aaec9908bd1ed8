// The mouth plays a sound in a loop and the ear records; both note which sample passed when.
class Mouth extends AudioWorkletProcessor {
  constructor({ processorOptions: { sound } }) {
    super();
    this.sound = sound;
    this.at = 0;
    this.times = [];
    this.port.onmessage = ({ data }) => {
      if (data === 'times') this.port.postMessage(this.times);
      else this.on = data;
    };
  }

  process(_, [[out]]) {
    if (!this.on) return true;
    if (this.at % 1024 === 0) this.times.push(this.at, Date.now());
    for (let i = 0; i < out.length; i++) out[i] = this.sound[(this.at + i) % this.sound.length];
    this.at += out.length;
    return true;
  }
}

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.at = 0;
    this.times = [];
    this.chunks = [];
    this.port.onmessage = () => {
      this.port.postMessage({ times: this.times, chunks: this.chunks });
      this.times = [];
      this.chunks = [];
    };
  }

  process([[input]]) {
    if (this.at % 1024 === 0) this.times.push(this.at, Date.now());
    const chunk = new Int16Array(128);
    if (input) for (let i = 0; i < 128; i++) chunk[i] = Math.max(-1, Math.min(1, input[i])) * 32767;
    this.chunks.push(chunk);
    this.at += 128;
    return true;
  }
}

registerProcessor('mouth', Mouth);
registerProcessor('ear', Ear);
