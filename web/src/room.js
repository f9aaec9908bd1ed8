import { toggle } from './controls.js';
import { troubleText } from './devices.js';
import { askLeave, deviceDialog } from './dialogs.js';
import { h, hear, icon, setIcon, toast } from './dom.js';
import { Grid } from './grid.js';
import { roomLink } from './names.js';
import { chatPanel, peoplePanel } from './panels.js';

// meetingRoom is the view of a meeting: it shows what the session knows and passes on
// what the person does.
export function meetingRoom(root, session, { muted, camera }) {
  const over = new AbortController();
  const { signal } = over;
  const { devices } = session;
  const audio = h('audio', { 'data-testid': 'meeting-audio', hidden: true });
  const grid = new Grid(session, signal);
  const link = roomLink(session.room);

  const micButton = toggle({ testid: 'mute-button', on: ['mic', 'Mute', 'Mute'], off: ['micOff', 'Unmute', 'Unmute'], shortcut: 'M', onclick: switchMic });
  const cameraButton = toggle({ testid: 'camera-button', on: ['camera', 'Turn camera off', 'Camera'], off: ['cameraOff', 'Turn camera on', 'Camera'], shortcut: 'V', onclick: switchCamera });
  const shareButton = toggle({ testid: 'share-button', on: ['shareStop', 'Stop sharing', 'Stop'], off: ['share', 'Share your screen', 'Share'], shortcut: 'S', onclick: () => session.setSharing(!session.sharing) });
  const chatButton = panelButton('chat-button', 'chat', 'Chat', 'C', 'chat');
  const peopleButton = panelButton('roster-button', 'people', 'People', 'P', 'people');
  const settingsButton = h('button', { type: 'button', class: 'round plain', 'data-testid': 'settings-button', onclick: settings }, icon('settings'), h('span', { class: 'caption' }, 'Devices'));
  setIcon(settingsButton, 'settings', 'Devices');
  const leaveButton = h('button', { type: 'button', class: 'round leave', 'data-testid': 'leave-button', 'aria-label': 'Leave', title: 'Leave', onclick: leave }, icon('leave'), h('span', { class: 'caption' }, 'Leave'));
  const unread = h('span', { class: 'count', hidden: true, 'data-testid': 'chat-unread' });
  chatButton.append(' ', unread);
  const count = h('span', { class: 'count calm', 'data-testid': 'people-count', 'aria-hidden': 'true' });
  peopleButton.append(' ', count);
  // Sharing needs a desktop browser; a button that can only fail is left out.
  shareButton.button.hidden = !navigator.mediaDevices?.getDisplayMedia;

  const banner = h('div', { class: 'banner', role: 'status', 'data-testid': 'banner', hidden: true });
  const own = h('div', { class: 'own-share', 'data-testid': 'own-share', hidden: true }, icon('share'), h('span', {}, 'You are sharing your screen'),
    h('button', { type: 'button', class: 'secondary small', 'data-testid': 'own-share-stop', onclick: () => session.setSharing(false) }, 'Stop sharing'));
  const alone = h('div', { class: 'alone', 'data-testid': 'alone', hidden: true },
    h('h2', {}, 'You are the first one here'), h('p', {}, 'Send this link to whoever should come.'),
    h('div', { class: 'copy-row' }, h('code', {}, link), h('button', { type: 'button', class: 'primary small', 'data-testid': 'alone-copy', onclick: copyLink }, icon('link'), 'Copy')));
  const said = h('div', { class: 'hidden', role: 'status', 'aria-live': 'polite' });

  const chat = chatPanel(session, () => openPanel(''));
  const people = peoplePanel(session, () => openPanel(''), copyLink);
  const panels = { chat, people };
  const buttons = { chat: chatButton, people: peopleButton };
  let shownPanel = '';
  let news = 0;
  let planned = false; // a look at the levels
  let switching = false; // the camera

  const view = h('div', { class: 'meeting', 'data-testid': 'meeting', 'data-state': session.state },
    h('header', { class: 'top' },
      h('div', { class: 'brand' }, icon('bell'), h('h1', { class: 'room-name', 'data-testid': 'room-name' }, session.room)),
      h('button', { type: 'button', class: 'chip', 'data-testid': 'copy-link', 'aria-label': 'Copy link', title: 'Copy link', onclick: copyLink }, icon('link'), h('span', {}, 'Copy link'))),
    h('div', { class: 'middle' },
      h('main', { class: 'stage', 'data-testid': 'stage' }, banner, own, grid.element, alone),
      chat.element, people.element),
    h('section', { class: 'controls', 'aria-label': 'Meeting controls' },
      h('div', { class: 'controls-main' }, micButton.button, cameraButton.button, shareButton.button, leaveButton),
      h('div', { class: 'controls-side' }, chatButton, peopleButton, settingsButton)),
    audio, said);
  root.replaceChildren(view);
  document.title = `${session.room} · Belfry`;

  hear(session, 'state', state, signal);
  hear(session, 'poor', ({ detail }) => {
    view.classList.toggle('poor', detail.poor);
    state();
  }, signal);
  hear(session, 'person', ({ detail }) => came(detail), signal);
  hear(session, 'levels', levels, signal);
  hear(session, 'camera', buttonsNow, signal);
  hear(session, 'share', () => {
    grid.share();
    people.notes();
    lonely();
  }, signal);
  hear(session, 'sharing', () => {
    own.hidden = !session.sharing;
    buttonsNow();
    people.notes();
  }, signal);
  hear(session, 'message', ({ detail }) => message(detail), signal);
  hear(session, 'notice', ({ detail }) => toast(detail.text, detail.kind), signal);
  hear(devices, 'change', buttonsNow, signal);
  hear(devices, 'lost', ({ detail }) => {
    if (detail.kind === 'camera') session.setCamera(false).catch(() => {}); // it is gone already
    toast(detail.found ? `Your ${detail.name} went away; another one is used now.` : `Your ${detail.name} went away. Plug it in again or choose another one under Devices.`, 'error');
  }, signal);
  hear(document, 'keydown', shortcuts, signal);
  // A browser that held the sound back plays it after the first touch.
  hear(document, 'pointerdown', () => audio.paused && audio.srcObject && audio.play().catch(() => {}), signal);
  keepAwake(signal);
  state();
  buttonsNow();
  session.start({ audio, muted: muted || !devices.mic, camera })
    .then(() => signal.aborted || devices.mic || toast('You are listening only: no microphone is in use. You can turn one on at any time.'))
    .catch(error => toast(`The meeting could not be started here: ${error.message}`, 'error'));

  function panelButton(testid, shape, label, shortcut, name) {
    return h('button', {
      type: 'button', class: 'round plain', 'data-testid': testid, 'aria-label': label, 'aria-expanded': 'false', 'aria-keyshortcuts': shortcut, title: `${label} (${shortcut})`,
      onclick: () => openPanel(shownPanel === name ? '' : name),
    }, icon(shape), h('span', { class: 'caption' }, label));
  }

  function openPanel(name) {
    const before = shownPanel;
    shownPanel = name;
    for (const [key, panel] of Object.entries(panels)) {
      panel.element.hidden = key !== name;
      buttons[key].setAttribute('aria-expanded', String(key === name));
    }
    view.classList.toggle('with-panel', Boolean(name));
    if (name === 'chat') {
      news = 0;
      unread.hidden = true;
      chatButton.setAttribute('aria-label', 'Chat');
      chat.opened();
    }
    if (name) panels[name].focus();
    else buttons[before]?.focus();
  }

  function state() {
    view.dataset.state = session.state;
    const texts = { connecting: 'Connecting', reconnecting: 'The connection dropped. Getting you back in', connected: '' };
    let text = texts[session.state];
    if (!text && view.classList.contains('poor')) text = 'Your connection is poor; sound and picture may suffer.';
    banner.hidden = !text;
    banner.classList.toggle('busy', session.state !== 'connected');
    if (banner.textContent !== text) banner.textContent = text;
    lonely();
  }

  function came({ person, left, dropped }) {
    const known = !left && view.querySelector(`[data-testid="roster-item"][data-attendee-id="${CSS.escape(person.id)}"]`);
    grid.person(person, left);
    people.person(person, left);
    people.notes();
    count.textContent = String(session.people.size);
    peopleButton.setAttribute('aria-label', `People ${count.textContent}`);
    // Who was here before oneself is told of in the first moments, and is no news.
    const settled = session.connectedAt > 0 && performance.now() - session.connectedAt > 2500;
    if (!person.self && !known && (left || settled)) {
      const text = left ? (dropped ? `${person.name} lost the connection` : `${person.name} left`) : `${person.name} joined`;
      said.textContent = text;
      if (session.people.size <= 12) toast(text);
    }
    lonely();
  }

  function lonely() {
    const only = session.state === 'connected' && session.people.size <= 1 && session.shares.size === 0;
    alone.hidden = !only;
    view.classList.toggle('is-alone', only);
  }

  function levels() { // comes many times a second; once a frame is enough to look at
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      for (const person of session.people.values()) {
        grid.mark(person);
        people.mark(person);
      }
      buttonsNow();
    });
  }

  function buttonsNow() {
    micButton.set(Boolean(devices.mic) && !session.muted);
    cameraButton.set(session.cameraOn);
    shareButton.set(session.sharing);
  }

  async function switchMic() {
    if (!devices.mic) {
      if (!(await devices.openMic())) {
        toast(troubleText('mic', devices.micTrouble), 'error');
        return;
      }
      session.setMuted(false);
    } else {
      session.setMuted(!session.muted);
    }
    buttonsNow();
  }

  async function switchCamera() {
    if (switching) return;
    switching = true;
    cameraButton.button.setAttribute('aria-busy', 'true');
    try {
      if (!(await session.setCamera(!session.cameraOn))) toast(troubleText('camera', devices.cameraTrouble), 'error');
    } catch (error) {
      toast(`The camera could not be switched: ${error.message}`, 'error');
    } finally {
      switching = false;
      cameraButton.button.removeAttribute('aria-busy');
      buttonsNow();
    }
  }

  function message(detail) {
    chat.add(detail);
    if (detail.own || shownPanel === 'chat') return;
    news++;
    unread.hidden = false;
    unread.textContent = news > 9 ? '9+' : String(news);
    chatButton.setAttribute('aria-label', `Chat ${unread.textContent} unread`);
    if (Date.now() - detail.time < 10_000) toast(`${detail.name}: ${detail.text.length > 80 ? `${detail.text.slice(0, 80)}…` : detail.text}`);
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(link);
      toast('Link copied. Send it to whoever should come.');
    } catch {
      toast(`Copy this link: ${link}`);
    }
  }

  function settings() {
    deviceDialog(devices, {
      retry: kind => (kind === 'mic' ? devices.openMic() : session.setCamera(true)),
      onchoose: async (kind, id) => {
        if (kind === 'speaker') await session.chooseSpeaker(id);
        else if (kind === 'camera' && !session.cameraOn) devices.remember('camera', id);
        else await devices.choose(kind, id);
      },
    });
  }

  async function leave() {
    const answer = await askLeave();
    if (answer === 'leave') session.leave();
    if (answer === 'end') session.endForAll().catch(error => toast(error.message, 'error'));
  }

  function shortcuts(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (event.key === 'Escape' && shownPanel && !event.target.closest?.('select, dialog')) return openPanel('');
    if (event.target.closest?.('input, textarea, select, dialog, [contenteditable]')) return;
    const act = { m: switchMic, v: switchCamera, c: () => openPanel(shownPanel === 'chat' ? '' : 'chat'), p: () => openPanel(shownPanel === 'people' ? '' : 'people'), s: () => !shareButton.button.hidden && session.setSharing(!session.sharing) }[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  return () => {
    over.abort();
    for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close('');
  };
}

// keepAwake asks that the screen stays on, again whenever the page comes back into sight.
function keepAwake(signal) {
  let lock = null;
  const ask = async () => {
    if (!navigator.wakeLock || document.visibilityState !== 'visible') return;
    const got = await navigator.wakeLock.request('screen').catch(() => null);
    if (signal.aborted) got?.release();
    else lock = got;
  };
  ask();
  hear(document, 'visibilitychange', ask, signal);
  signal.addEventListener('abort', () => lock?.release());
}
