import { h, icon } from './dom.js';
import { initials, tint } from './names.js';

const smallest = 132; // px; below that a face says nothing
const most = 25; // videos that the service sends to one attendee

// fit answers how many columns give n tiles of one shape the most room.
export function fit(n, width, height, gap) {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const roomW = (width - gap * (columns - 1)) / columns;
    const roomH = (height - gap * (rows - 1)) / rows;
    // Cameras are wide, so tiles are between 4:3 and 16:9; on a phone held upright they
    // may be upright too (5:8), or most of it would stay empty.
    const w = Math.min(roomW, roomH * (16 / 9));
    const t = Math.min(roomH, w * (height > width ? 8 / 5 : 3 / 4));
    if (w * t > best.width * best.height) best = { columns, width: Math.floor(w), height: Math.floor(t) };
  }
  return best;
}

// Grid shows one tile for each person, and other people's screens large.
export class Grid {
  #tiles = new Map(); // AttendeeId: parts of the tile
  #shares = new Map();

  constructor(session, signal) {
    this.session = session;
    this.screens = h('div', { class: 'screens' });
    this.faces = h('div', { class: 'faces', role: 'list', 'aria-label': 'People in the meeting' });
    this.more = h('div', { class: 'tile more', role: 'listitem', 'data-testid': 'tile-more' });
    this.element = h('div', { class: 'grid' }, this.screens, this.faces);
    const watch = new ResizeObserver(() => this.arrange());
    watch.observe(this.element);
    signal.addEventListener('abort', () => watch.disconnect());
  }

  person(person, left) {
    let tile = this.#tiles.get(person.id);
    if (left) {
      tile?.element.remove();
      this.#tiles.delete(person.id);
    } else {
      if (!tile) this.#tiles.set(person.id, (tile = this.#make(person)));
      this.#video(tile, person.tile);
      this.mark(person);
    }
    this.arrange();
  }

  #make(person) {
    const video = h('video', { playsinline: true, autoplay: true, muted: true, hidden: true, 'aria-hidden': 'true' });
    const avatar = h('div', { class: 'avatar', 'data-tint': tint(person.id), 'aria-hidden': 'true' }, initials(person.name));
    const badge = h('span', { class: 'badge', hidden: true }, icon('micOff'), h('span', { class: 'hidden' }, 'muted'));
    const element = h('div', {
      class: 'tile', role: 'listitem', 'data-testid': 'tile', 'data-attendee-id': person.id, 'data-name': person.name, 'data-self': String(person.self),
    }, avatar, video, h('div', { class: 'plate' }, badge, h('span', { class: 'plate-name' }, person.self ? `${person.name} (you)` : person.name)));
    return { element, video, avatar, badge, bound: null, visible: true };
  }

  #video(tile, id) {
    if (tile.bound === id) return;
    tile.bound = id;
    tile.video.hidden = id === null;
    tile.avatar.hidden = id !== null;
    tile.element.dataset.video = String(id !== null);
    tile.visible = true;
    if (id === null) tile.video.srcObject = null;
    else this.session.bind(id, tile.video);
  }

  // mark shows who is muted and who talks, which changes often and moves nothing.
  mark(person) {
    const tile = this.#tiles.get(person.id);
    if (!tile) return;
    tile.badge.hidden = !person.muted;
    tile.element.dataset.muted = String(person.muted);
    const speaking = person.speaking && !person.muted;
    tile.element.dataset.speaking = String(speaking);
    tile.element.style.setProperty('--level', speaking ? person.volume.toFixed(2) : '0');
    if (speaking && !tile.element.isConnected) this.arrange();
  }

  share() {
    const { shares } = this.session;
    for (const [id, share] of this.#shares) {
      if (shares.get(id)?.tile === share.tile) continue;
      share.element.remove();
      this.#shares.delete(id);
    }
    for (const { id, name, tile } of shares.values()) {
      if (this.#shares.has(id)) continue;
      const video = h('video', { playsinline: true, autoplay: true, muted: true, 'aria-label': `Screen of ${name}` });
      const element = h('figure', { class: 'screen', 'data-testid': 'share-tile', 'data-attendee-id': id, 'data-name': name },
        video, h('figcaption', { class: 'plate' }, icon('share'), h('span', { class: 'plate-name' }, `${name}’s screen`)));
      this.#shares.set(id, { element, tile });
      this.screens.append(element);
      this.session.bind(tile, video);
    }
    this.arrange();
  }

  // arrange puts as many tiles as fit: others in the order they came, oneself last; when
  // there are too many, those who spoke last come first and the rest become a number.
  arrange() {
    const sharing = this.#shares.size > 0;
    this.element.classList.toggle('sharing', sharing);
    const people = [...this.session.people.values()].sort((a, b) => a.self - b.self);
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const style = getComputedStyle(this.faces);
    const gap = parseFloat(style.columnGap) || 8;
    let shown = people;
    if (!sharing) {
      const room = Math.max(2, Math.floor((width + gap) / (smallest + gap)) * Math.floor((height + gap) / (smallest * 0.75 + gap)));
      const limit = Math.min(room, most);
      if (people.length > limit) {
        const heard = people.filter(p => !p.self).sort((a, b) => b.spokeAt - a.spokeAt).slice(0, limit - 2);
        shown = people.filter(p => p.self || heard.includes(p));
      }
    }
    const rest = people.length - shown.length;
    this.more.textContent = rest > 0 ? `+${rest}` : '';
    this.more.setAttribute('aria-label', `${rest} more`);
    const wanted = shown.map(p => this.#tiles.get(p.id)?.element).filter(Boolean);
    if (rest > 0) wanted.push(this.more);
    const now = [...this.faces.children];
    if (wanted.length !== now.length || wanted.some((element, i) => element !== now[i])) {
      // Only what moved is moved: a video that leaves the page stops for a moment.
      for (const element of now) if (!wanted.includes(element)) element.remove();
      wanted.forEach((element, i) => {
        if (this.faces.children[i] !== element) this.faces.insertBefore(element, this.faces.children[i] ?? null);
      });
    }
    for (const person of people) {
      const tile = this.#tiles.get(person.id);
      const visible = shown.includes(person);
      if (!tile || tile.bound === null || tile.visible === visible || person.self) continue;
      tile.visible = visible;
      this.session.show(tile.bound, visible);
    }
    this.faces.dataset.count = String(wanted.length);
    if (sharing) {
      this.faces.style.removeProperty('--tile-w');
      this.faces.style.removeProperty('--tile-h');
      return;
    }
    const best = fit(Math.max(1, wanted.length), width, height, gap);
    this.faces.style.setProperty('--tile-w', `${best.width}px`);
    this.faces.style.setProperty('--tile-h', `${best.height}px`);
    this.faces.style.setProperty('--columns', best.columns);
  }
}
