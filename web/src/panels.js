import { h, icon, toast } from './dom.js';
import { initials, tint } from './names.js';
import { maxMessageBytes } from './session.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

// linked turns addresses in a message into links, and leaves everything else text.
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]}])/).map((part, i) =>
    (i % 2 ? h('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part) : part));
}

function panel(testid, title, onclose, ...content) {
  const heading = h('h2', { id: `${testid}-title`, tabindex: '-1' }, title);
  const element = h('aside', { class: 'panel', 'data-testid': testid, 'aria-labelledby': `${testid}-title`, hidden: true },
    h('header', { class: 'panel-head' }, heading, h('button', { type: 'button', class: 'quiet', 'aria-label': `Close ${title.toLowerCase()}`, 'data-testid': `${testid}-close`, onclick: onclose }, icon('close'))),
    ...content);
  return { element, heading };
}

// chatPanel shows the messages of the session and sends one's own.
export function chatPanel(session, onclose) {
  const list = h('ol');
  const log = h('div', { class: 'messages', role: 'log', 'aria-label': 'Messages', tabindex: '0' }, list);
  const empty = h('p', { class: 'empty' }, 'Nothing was said here yet. Messages reach everybody in the meeting; who comes later sees those of the last five minutes.');
  const input = h('textarea', { rows: 1, 'data-testid': 'chat-input', 'aria-label': 'Message to everyone', placeholder: 'Message to everyone', enterkeyhint: 'send' });
  const form = h('form', { class: 'compose', onsubmit: send }, input, h('button', { type: 'submit', class: 'send', 'aria-label': 'Send', title: 'Send', 'data-testid': 'chat-send' }, icon('send')));
  input.addEventListener('keydown', event => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  input.addEventListener('input', grow);
  const { element } = panel('chat-panel', 'Chat', onclose, h('div', { class: 'panel-body' }, empty, log), form);
  let last = null;

  function grow() {
    input.style.height = 'auto';
    input.style.height = `${Math.min(120, input.scrollHeight)}px`;
  }

  function send(event) {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    if (new TextEncoder().encode(text).length > maxMessageBytes) {
      toast('That message is too long. Send it in parts.', 'error');
      return;
    }
    try {
      session.say(text);
    } catch (error) {
      toast(session.state === 'connected' ? 'The message could not be sent. Try again.' : error.message, 'error');
      return;
    }
    input.value = '';
    grow();
  }

  function add(message) {
    empty.hidden = true;
    const follows = last && last.id === message.id && message.time - last.time < 120_000;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    list.append(h('li', { class: `message${message.own ? ' own' : ''}${follows ? ' follows' : ''}`, 'data-testid': 'chat-message', 'data-name': message.name, 'data-own': String(message.own) },
      !follows && h('div', { class: 'by' }, h('strong', {}, message.own ? 'You' : message.name), ' ', h('time', { datetime: new Date(message.time).toISOString() }, clock.format(message.time))),
      h('div', { class: 'bubble', 'data-testid': 'chat-text', dir: 'auto' }, linked(message.text))));
    while (list.children.length > 500) list.firstChild.remove();
    last = message;
    if (atEnd || message.own) log.scrollTop = log.scrollHeight;
  }

  return { element, add, focus: () => input.focus(), opened: () => (log.scrollTop = log.scrollHeight) };
}

const signals = [[0.75, 3, 'good connection'], [0.25, 2, 'weak connection'], [-1, 1, 'very weak connection']];

// peoplePanel is the roster: who is here, how loud, muted or not, and how well connected.
export function peoplePanel(session, onclose, copyLink) {
  const list = h('ul', { class: 'roster', 'data-testid': 'roster' });
  const { element, heading } = panel('people-panel', 'People', onclose,
    h('div', { class: 'panel-body' }, list),
    h('div', { class: 'panel-foot' }, h('button', { type: 'button', class: 'secondary wide', onclick: copyLink }, icon('link'), 'Copy the link to invite others')));
  const rows = new Map();

  function person(person, left) {
    if (left) {
      rows.get(person.id)?.element.remove();
      rows.delete(person.id);
    } else if (!rows.has(person.id)) {
      const volume = h('span', { class: 'volume', 'aria-hidden': 'true' }, h('span'), h('span'), h('span'));
      const mute = h('span', { class: 'mute', role: 'img' });
      const strength = h('span', { class: 'strength', role: 'img' }, h('span'), h('span'), h('span'));
      const note = h('small', {});
      const row = h('li', { class: 'row-person', 'data-testid': 'roster-item', 'data-attendee-id': person.id, 'data-name': person.name, 'data-self': String(person.self) },
        h('span', { class: 'avatar small', 'data-tint': tint(person.id), 'aria-hidden': 'true' }, initials(person.name)),
        h('span', { class: 'who' }, h('span', { class: 'who-name' }, person.self ? `${person.name} (you)` : person.name), note),
        volume, mute, strength);
      rows.set(person.id, { element: row, volume, mute, strength, note, muted: null, bars: null });
      list.insertBefore(row, person.self ? list.firstChild : null);
      mark(person);
    }
    heading.textContent = `People (${rows.size})`;
  }

  // mark runs for every change of a level, so it touches only what differs.
  function mark(person) {
    const row = rows.get(person.id);
    if (!row) return;
    const level = person.muted ? 0 : person.volume;
    row.volume.style.setProperty('--level', level.toFixed(2));
    row.element.dataset.volume = level.toFixed(2);
    if (row.muted !== person.muted) {
      row.muted = person.muted;
      row.element.dataset.muted = String(person.muted);
      row.mute.replaceChildren(icon(person.muted ? 'micOff' : 'mic'));
      row.mute.setAttribute('aria-label', person.muted ? 'muted' : 'microphone on');
    }
    const [, bars, words] = signals.find(([above]) => person.signal > above);
    if (row.bars !== bars) {
      row.bars = bars;
      row.strength.dataset.bars = String(bars);
      row.strength.setAttribute('aria-label', words);
      row.strength.title = words;
    }
  }

  function notes() {
    for (const [id, row] of rows) {
      const sharing = session.shares.has(id) || (id === session.selfId && session.sharing);
      row.note.textContent = sharing ? 'is sharing a screen' : '';
      row.element.dataset.sharing = String(sharing);
    }
  }

  return { element, person, mark, notes, focus: () => heading.focus() };
}
