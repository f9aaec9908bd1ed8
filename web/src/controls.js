import { h, icon, setIcon } from './dom.js';
import { troubleText } from './devices.js';

// toggle is a round button with two states: { on: [icon, label, caption], off: … },
// where a caption stands below the icon when there is room.
export function toggle({ testid, on, off, shortcut, onclick }) {
  const button = h('button', { type: 'button', class: 'round', 'data-testid': testid, 'aria-keyshortcuts': shortcut, onclick }, icon(on[0]), on[2] && h('span', { class: 'caption' }));
  const set = value => {
    const [shape, label, caption] = value ? on : off;
    if (button.dataset.on === String(Boolean(value))) return; // asked many times a second
    setIcon(button, shape, label);
    if (shortcut) button.title = `${label} (${shortcut})`;
    if (caption) button.querySelector('.caption').textContent = caption;
    button.dataset.on = String(Boolean(value));
  };
  return { button, set };
}

export function meterBar(testid) {
  const bar = h('div', { class: 'meter', 'data-testid': testid, role: 'meter', 'aria-label': 'Microphone level', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': '0' }, h('span'));
  return {
    bar,
    set(level) {
      bar.style.setProperty('--level', level.toFixed(3));
      bar.setAttribute('aria-valuenow', String(Math.round(level * 100)));
    },
  };
}

const kinds = {
  mic: { label: 'Microphone', icon: 'mic', list: 'mics' },
  camera: { label: 'Camera', icon: 'camera', list: 'cameras' },
  speaker: { label: 'Speaker', icon: 'speaker', list: 'speakers' },
};

// deviceFields are the three choices, with what is wrong below each. onchoose(kind, id)
// is called for a choice; the fields follow the Devices until the signal aborts.
export function deviceFields(devices, { onchoose, signal, retry, prefix = '' }) {
  const fields = {};
  for (const [kind, about] of Object.entries(kinds)) {
    const id = `${prefix}${kind}-select`;
    const select = h('select', { id, 'data-testid': id, onchange: () => onchoose(kind, select.value) });
    const trouble = h('p', { class: 'trouble', hidden: true, 'data-testid': `${prefix}${kind}-trouble` });
    fields[kind] = { select, trouble, field: h('div', { class: 'field device' }, h('label', { for: id }, icon(about.icon), about.label), select, trouble) };
  }
  const fill = () => {
    for (const [kind, { select, trouble, field }] of Object.entries(fields)) {
      const list = devices[kinds[kind].list];
      const named = list.filter(device => device.label);
      const options = (named.length ? named : list).map((device, i) => h('option', { value: device.deviceId }, device.label || `${kinds[kind].label} ${i + 1}`));
      if (!options.length) options.push(h('option', { value: '' }, kind === 'camera' ? 'No camera' : kind === 'mic' ? 'No microphone' : 'Standard'));
      select.replaceChildren(...options);
      select.disabled = !list.length;
      if (devices[kind]) select.value = devices[kind];
      if (select.selectedIndex < 0) select.selectedIndex = 0;
      if (kind === 'speaker') field.hidden = !devices.canChooseSpeaker;
      const problem = devices[`${kind}Trouble`];
      trouble.hidden = !problem;
      trouble.replaceChildren(...(problem ? [icon('warning'), h('span', {}, troubleText(kind, problem), ' ', problem !== 'insecure' && h('button', { type: 'button', class: 'link', onclick: () => retry(kind) }, 'Try again'))] : []));
    }
  };
  devices.addEventListener('change', fill, { signal });
  fill();
  return Object.values(fields).map(({ field }) => field);
}

// playChime rings a short bell through an element, so that a speaker can be tried.
export async function playChime(sinkId) {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const now = context.currentTime;
  for (const [ratio, loud] of [[1, 0.3], [2.01, 0.15], [2.99, 0.08]]) {
    const tone = new OscillatorNode(context, { frequency: 523 * ratio });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.linearRampToValueAtTime(loud, now + 0.01);
    gain.gain.exponentialRampToValueAtTime(0.0005, now + 1.4);
    tone.connect(gain).connect(out);
    tone.start(now);
    tone.stop(now + 1.5);
  }
  const audio = new Audio();
  audio.srcObject = out.stream;
  if (sinkId && audio.setSinkId) await audio.setSinkId(sinkId).catch(() => {});
  await audio.play().catch(() => {});
  setTimeout(() => context.close(), 1800);
}
