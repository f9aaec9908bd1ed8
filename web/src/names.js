const first = 'amber ample azure bold brave bright brisk calm clear cosy crisp dawn early easy fair fleet fresh gentle glad golden grand green happy hazel humble jolly keen kind late light lively lucky maple mellow merry mild misty noble novel olive open plain proud quick quiet rapid rosy royal silent silver simple smooth snowy soft solar spry still sunny swift tidal vivid warm wild wise'.split(' ');
const second = 'acorn arch bay beacon bell birch bridge brook canal castle cedar cliff cloud comet cove creek dale delta dune elm falcon fern field fjord forest garden glade grove harbour haven heron hill island lagoon lake lantern lark maple meadow mill moon oak orchard otter park peak pine pond prairie reef ridge river robin shore sparrow spring star stone summit tower valley willow wind'.split(' ');
const letters = 'abcdefghjkmnpqrstuvwxyz23456789'; // none that look alike

// newRoom makes a name that can be read out, with enough chance in it (some 42 bits)
// that nobody walks in by guessing.
export function newRoom() {
  const random = crypto.getRandomValues(new Uint32Array(8));
  const pick = (list, i) => list[random[i] % list.length];
  return `${pick(first, 0)}-${pick(second, 1)}-${[2, 3, 4, 5, 6, 7].map(i => pick(letters, i)).join('')}`;
}

const roomPattern = /^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])$/;
const reserved = new Set(['api', 'assets', 'licenses']);

// parseRoom takes what somebody pasted, a link or a name, and answers the room or ''.
export function parseRoom(text) {
  let room = text.trim();
  const inLink = room.match(/\/meet\/([^/?#\s]+)/);
  if (inLink) room = inLink[1];
  room = room.toLowerCase().replace(/\s+/g, '-');
  return roomPattern.test(room) && !reserved.has(room) ? room : '';
}

export const roomPath = room => `/meet/${room}`;
export const roomLink = room => `${location.origin}${roomPath(room)}`;

// displayName reads the ExternalUserId that the backend made: the name before the last
// "#", in base64url behind "=b." when ExternalUserId could not carry it as it is.
export function displayName(externalUserId) {
  const id = externalUserId ?? '';
  const end = id.lastIndexOf('#');
  const name = end > 0 ? id.slice(0, end) : id;
  if (!name.startsWith('=b.')) return name || 'Guest';
  try {
    const bytes = atob(name.slice(3).replace(/-/g, '+').replace(/_/g, '/'));
    return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes, c => c.charCodeAt(0))) || 'Guest';
  } catch {
    return 'Guest';
  }
}

export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letter = word => [...word].find(c => /[\p{L}\p{N}\p{Extended_Pictographic}]/u.test(c)) ?? '';
  const text = words.length > 1 ? letter(words[0]) + letter(words[words.length - 1]) : letter(words[0] ?? '');
  return text.toLocaleUpperCase() || '?';
}

// tint picks one of the avatar colours, the same for everybody who sees this attendee.
export function tint(id) {
  let sum = 0;
  for (const c of id) sum = (sum * 31 + c.codePointAt(0)) >>> 0;
  return sum % 8;
}

// Preferences stay in this browser. A browser may refuse storage; then they last as long as the page.
const memory = new Map();
export const prefs = {
  get(key) {
    try { return localStorage.getItem(`belfry.${key}`) ?? memory.get(key) ?? ''; } catch { return memory.get(key) ?? ''; }
  },
  set(key, value) {
    memory.set(key, value);
    try { localStorage.setItem(`belfry.${key}`, value); } catch { /* kept in memory */ }
  },
};
