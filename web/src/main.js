import './styles.css';
import { Devices } from './devices.js';
import { h } from './dom.js';
import { ended } from './ended.js';
import { lobby } from './lobby.js';
import { parseRoom, roomPath } from './names.js';
import { meetingRoom } from './room.js';
import { Session, newLogger, takeSeat } from './session.js';

// The page is one of four views at a time: lobby, joining, meeting, ended. Each view is a
// function that fills the root and answers what undoes it.
const root = document.getElementById('app');
const logger = newLogger();
let devices = new Devices(logger);
let undo = () => {};
let session = null;

function view(name, open) {
  undo();
  document.getElementById('toasts').replaceChildren(); // what was said of one view is no news in the next
  document.body.dataset.view = name;
  undo = open() ?? (() => {});
}

function roomOfPage() {
  const part = location.pathname.replace(/^\/meet\/?/, '').replace(/\/$/, '');
  const room = parseRoom(part);
  return { room, wrong: part !== '' && room === '' };
}

function openLobby(error) {
  const { room, wrong } = roomOfPage();
  const complaint = error ?? (wrong ? 'This link is not one of a meeting here. Check it with whoever sent it, or start a meeting of your own.' : undefined);
  view('lobby', () => lobby(root, { devices, room, error: complaint, onjoin: join }));
}

let abandon = null; // gives up the joining that is under way

async function join({ room, name, muted, camera }) {
  if (location.pathname !== roomPath(room)) history.pushState(null, '', roomPath(room));
  let wanted = true;
  abandon = () => {
    wanted = false;
    openLobby();
  };
  view('joining', () => joining(abandon));
  try {
    const seat = await takeSeat(room, name);
    if (!wanted) return;
    session = new Session(room, seat, devices, logger);
  } catch (error) {
    if (wanted) openLobby(error.message);
    return;
  }
  abandon = null;
  const mine = session;
  mine.addEventListener('stop', async ({ detail }) => {
    session = null;
    devices = new Devices(logger); // the session took the old ones with it
    if (!wanted) return;
    const failed = detail.reason === 'lost' || detail.reason === 'unreachable';
    const reason = failed && !(await serverAnswers()) ? 'stopped' : detail.reason;
    view('ended', () => ended(root, {
      reason,
      room,
      onjoin: () => openLobby(),
      onhome: () => {
        history.pushState(null, '', '/meet/');
        openLobby();
      },
    }));
  });
  view('meeting', () => meetingRoom(root, mine, { muted, camera }));
}

// serverAnswers tells a server that is gone from a path that is blocked.
async function serverAnswers() {
  try {
    return (await fetch(location.pathname, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(3000) })).ok;
  } catch {
    return false;
  }
}

function joining(oncancel) {
  root.replaceChildren(h('main', { class: 'joining', 'data-testid': 'joining' },
    h('div', { class: 'spinner', 'aria-hidden': 'true' }),
    h('p', { role: 'status' }, 'Joining the meeting'),
    h('button', { type: 'button', class: 'secondary', onclick: oncancel }, 'Cancel')));
}

addEventListener('popstate', () => {
  if (session) session.leave();
  else if (abandon) abandon();
  else openLobby();
});
// Leaving says so, instead of letting the others wait until the silence is noticed.
addEventListener('pagehide', () => session?.leave());

openLobby();
