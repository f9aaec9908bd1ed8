import { h, icon } from './dom.js';

const words = {
  left: ['leave', 'You left the meeting', 'The others can go on. The same link brings you back.', 'Join again'],
  ended: ['check', 'The meeting has ended', 'Somebody ended it for everyone, or it was closed by the server.', 'Start it again'],
  endedByMe: ['check', 'You ended the meeting', 'Everyone was told and has left.', 'Start it again'],
  removed: ['people', 'You were removed from the meeting', 'Whoever runs it took you out. Ask them if you think that was a mistake.', ''],
  elsewhere: ['share', 'You joined from somewhere else', 'The meeting goes on in your other window or device. To take it back to this one, join again here.', 'Join here'],
  full: ['people', 'The meeting is full', 'No more people fit in right now. Try again when somebody has left.', 'Try again'],
  refused: ['warning', 'Your seat is no longer there', 'The meeting ended or your place in it was given up before you came in. Joining again gets you a new one.', 'Join again'],
  lost: ['warning', 'The connection was lost', 'The page tried to get back in and could not. Check your network, then join again.', 'Join again'],
  stopped: ['warning', 'The server cannot be reached', 'It was stopped, or your network is down. When it is back, the same link brings you into the meeting again.', 'Join again'],
  unreachable: ['warning', 'Could not connect', 'The meeting server answered, but no sound or picture came through. A firewall may be in the way: its media port (UDP) has to be open. Try another network, or ask whoever runs the server.', 'Try again'],
};

// ended is the view after a meeting, for each way in which one can be over.
export function ended(root, { reason, room, onjoin, onhome }) {
  const [shape, title, text, again] = words[reason] ?? words.lost;
  const heading = h('h1', { tabindex: '-1', 'data-testid': 'ended-title' }, title);
  root.replaceChildren(
    h('div', { class: 'lobby' },
      h('header', { class: 'brand' }, icon('bell'), h('span', {}, 'Belfry')),
      h('main', { class: 'ended', 'data-testid': 'ended', 'data-reason': reason },
        h('div', { class: 'ended-mark' }, icon(shape)),
        heading,
        h('p', {}, text),
        h('p', { class: 'aside' }, h('span', { class: 'room-name' }, room)),
        h('div', { class: 'row' },
          again && h('button', { type: 'button', class: 'primary', 'data-testid': 'rejoin-button', onclick: onjoin }, again),
          h('button', { type: 'button', class: 'secondary', 'data-testid': 'home-button', onclick: onhome }, 'Back to the start'))),
      h('footer', { class: 'foot' }, h('a', { href: '/meet/licenses' }, 'Licences'))));
  heading.focus();
  document.title = `${title} · Belfry`;
  return () => {};
}
