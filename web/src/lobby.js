import { h, icon, hear } from './dom.js';
import { deviceFields, meterBar, playChime, toggle } from './controls.js';
import { initials, newRoom, parseRoom, prefs, tint } from './names.js';

// lobby is the view before a meeting: who you are, how you look and sound, and where to.
// It calls onjoin({ room, name, muted, camera }) and, when the join was refused, its
// returned promise's error is shown here.
export function lobby(root, { devices, room, error, onjoin }) {
  const over = new AbortController();
  const { signal } = over;
  let muted = prefs.get('muted') === 'yes';
  let camera = prefs.get('camera-off') !== 'yes';
  let stopMeter = () => {};
  let metered = ''; // the microphone that the meter listens to

  const video = h('video', { class: 'preview-video mirrored', autoplay: true, playsinline: true, muted: true, 'data-testid': 'preview-video', 'aria-label': 'Your camera' });
  video.muted = true;
  const avatar = h('div', { class: 'avatar large' });
  const previewText = h('p', { class: 'preview-text' });
  const meter = meterBar('mic-meter');
  const micToggle = toggle({ testid: 'toggle-mic', on: ['mic', 'Turn microphone off'], off: ['micOff', 'Turn microphone on'], onclick: () => setMic(muted) });
  const cameraToggle = toggle({ testid: 'toggle-camera', on: ['camera', 'Turn camera off'], off: ['cameraOff', 'Turn camera on'], onclick: () => setCamera(!camera) });

  const nameInput = h('input', { id: 'name', 'data-testid': 'name-input', autocomplete: 'name', maxlength: 40, required: true, value: prefs.get('name'), placeholder: 'How others see you', 'aria-describedby': 'problem' });
  const roomInput = h('input', { id: 'room', 'data-testid': 'room-input', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'Paste a link or a room name', 'aria-describedby': 'problem' });
  const problem = h('p', { id: 'problem', class: 'problem', role: 'alert', 'data-testid': 'problem', hidden: true });
  const primary = h('button', { type: 'submit', class: 'primary', 'data-testid': room ? 'join-button' : 'create-button' }, room ? 'Join now' : 'Start a meeting');
  const joinLink = h('button', { type: 'button', class: 'secondary', 'data-testid': 'join-button', onclick: () => go(parseRoom(roomInput.value)) }, 'Join');

  const form = h('form', { class: 'lobby-form', novalidate: true, onsubmit: event => {
    event.preventDefault();
    if (event.submitter === null && document.activeElement === roomInput) go(parseRoom(roomInput.value));
    else go(room || newRoom());
  } },
  h('h1', {}, room ? 'Ready to join?' : 'Talk face to face, on your own server'),
  room
    ? h('p', { class: 'lead' }, 'You are about to enter ', h('strong', { class: 'room-name', 'data-testid': 'room-name' }, room), '.')
    : h('p', { class: 'lead' }, 'Start a meeting and send its link to the others. Nothing to install, no account.'),
  h('div', { class: 'field' }, h('label', { for: 'name' }, 'Your name'), nameInput),
  primary,
  !room && h('div', { class: 'or' }, h('span', {}, 'or join one')),
  !room && h('div', { class: 'field inline' }, h('label', { for: 'room', class: 'hidden' }, 'Link or room name'), roomInput, joinLink),
  room && h('p', { class: 'aside' }, h('a', { href: '/meet/', 'data-testid': 'other-room' }, 'Go to another meeting instead')),
  problem);
  // Enter in the room's field means that room, not a new one.
  roomInput.addEventListener('keydown', event => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    go(parseRoom(roomInput.value));
  });

  const preview = h('section', { class: 'preview', 'aria-label': 'Your camera and microphone' },
    h('div', { class: 'preview-frame' }, h('div', { class: 'preview-face' }, avatar, previewText), video,
      h('div', { class: 'preview-bar' }, micToggle.button, meter.bar, cameraToggle.button)),
    h('div', { class: 'devices' },
      deviceFields(devices, { signal, retry: kind => (kind === 'mic' ? openMic() : setCamera(true)), onchoose: choose }),
      h('p', { class: 'aside listen', hidden: true, 'data-testid': 'listen-only' }, 'Without a microphone you can still join, listen and chat.')));
  const listen = preview.querySelector('.listen');

  root.replaceChildren(
    h('div', { class: 'lobby' },
      h('header', { class: 'brand' }, icon('bell'), h('span', {}, 'Belfry')),
      h('main', { class: 'lobby-main' }, form, preview),
      h('footer', { class: 'foot' }, h('a', { href: '/meet/licenses' }, 'Licences'))));
  document.title = room ? `${room} · Belfry` : 'Belfry';
  if (!nameInput.value) nameInput.focus();
  if (error) complain(error);

  hear(nameInput, 'input', face, signal);
  hear(devices, 'change', show, signal);
  // On leaving the lobby the last frame stays with the session, which takes the devices over.
  face();
  show();
  const opened = openMic().then(() => camera && !signal.aborted && setCamera(true));

  async function openMic() {
    await devices.openMic();
    if (!signal.aborted) show();
  }

  function setMic(on) {
    muted = !on;
    prefs.set('muted', muted ? 'yes' : 'no');
    if (on && !devices.mic) openMic();
    show();
  }

  async function setCamera(on) {
    camera = on;
    prefs.set('camera-off', on ? 'no' : 'yes');
    show();
    if (on) await devices.openCamera();
    else await devices.closeCamera();
    if (!signal.aborted) show();
  }

  async function choose(kind, id) {
    if (kind === 'speaker') {
      devices.useSpeaker(id);
      playChime(id);
    } else {
      if (kind === 'camera') camera = true;
      await devices.choose(kind, id);
    }
    if (!signal.aborted) show();
  }

  async function show() {
    const hasMic = Boolean(devices.mic);
    micToggle.set(hasMic && !muted);
    const key = hasMic && !muted ? devices.mic : '';
    if (key !== metered) {
      metered = key;
      stopMeter();
      stopMeter = () => {};
      if (key) stopMeter = devices.meter(level => meter.set(level));
      else meter.set(0);
    }
    meter.bar.classList.toggle('off', !key);
    const seen = camera && Boolean(devices.camera);
    cameraToggle.set(seen);
    video.hidden = !seen;
    avatar.hidden = seen;
    previewText.textContent = seen ? '' : camera && devices.cameraTrouble ? 'No camera' : camera ? 'Starting your camera' : 'Your camera is off';
    listen.hidden = !devices.micTrouble;
    if (seen) {
      const stream = await devices.controller.acquireVideoInputStream().catch(() => null);
      if (stream && video.srcObject !== stream) video.srcObject = stream;
    } else {
      video.srcObject = null;
    }
  }

  function face() {
    const name = nameInput.value.trim();
    avatar.textContent = name ? initials(name) : '';
    avatar.dataset.tint = tint(name);
    if (!name) avatar.append(icon('people'));
  }

  function complain(text, field) {
    problem.textContent = text;
    problem.hidden = false;
    for (const input of [nameInput, roomInput]) input.toggleAttribute('aria-invalid', input === field);
    field?.focus();
  }

  async function go(target) {
    const name = nameInput.value.trim();
    problem.hidden = true;
    if (!target) return complain('That is not a link to a meeting here. A room name has small letters, digits and hyphens, such as quiet-harbour-7k3pwm.', roomInput);
    if (!name) return complain('Tell the others your name first.', nameInput);
    prefs.set('name', name);
    if (primary.disabled) return;
    // Who is quick comes with microphone and camera too; a question that the browser
    // still asks about them does not hold anybody up for long.
    primary.disabled = joinLink.disabled = true;
    await Promise.race([opened, new Promise(resolve => setTimeout(resolve, 2500))]);
    if (!signal.aborted) onjoin({ room: target, name, muted: muted || !devices.mic, camera: camera && !devices.cameraTrouble });
  }

  return () => {
    over.abort();
    stopMeter();
    video.srcObject = null;
  };
}
