// h makes an element: h('button', { class: 'x', onclick, 'aria-label': '…' }, children…).
// Children may be nodes, texts, arrays, or null and false, which are left out.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value' || key === 'disabled' || key === 'srcObject' || key === 'muted') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// Drawn for this page on a 24 by 24 grid; strokes take the colour of the text.
const shapes = {
  mic: '<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3"/>',
  micOff: '<path d="M9 9v2a3 3 0 0 0 5 2.200M15 10.500V6a3 3 0 0 0-5.800-1.100M5.500 11.500a6.500 6.500 0 0 0 10.800 4.900M18.500 11.500c0 .8-.1 1.500-.4 2.200M12 18v3M4 3.500l16 17"/>',
  camera: '<rect x="3" y="6.500" width="12.500" height="11" rx="2.500"/><path d="m15.500 11 5-3v8l-5-3"/>',
  cameraOff: '<path d="M7 6.500h-1.500A2.500 2.500 0 0 0 3 9v6a2.500 2.500 0 0 0 2.500 2.500H13a2.500 2.500 0 0 0 2.100-1.200M10.500 6.500H13A2.500 2.500 0 0 1 15.500 9v2l5-3v8l-3-1.800M4 3.500l16 17"/>',
  share: '<rect x="3" y="4.500" width="18" height="12.500" rx="2.500"/><path d="M12 13.500V8M9.500 10.300 12 7.800l2.500 2.500M8.500 20.500h7"/>',
  shareStop: '<rect x="3" y="4.500" width="18" height="12.500" rx="2.500"/><path d="m10 8.700 4 4m0-4-4 4M8.500 20.500h7"/>',
  chat: '<path d="M5.500 4.500h13A2.500 2.500 0 0 1 21 7v7.500a2.500 2.500 0 0 1-2.500 2.500H11l-4.500 3.500V17h-1A2.500 2.500 0 0 1 3 14.500V7a2.500 2.500 0 0 1 2.500-2.500zM8 9.300h8M8 12.500h5"/>',
  people: '<circle cx="9" cy="8.500" r="3.200"/><path d="M3 19c.4-3.200 2.800-5 6-5s5.600 1.800 6 5M15.500 5.600a3.200 3.200 0 0 1 0 5.800M17.500 14.400c2 .7 3.200 2.300 3.500 4.600"/>',
  settings: '<path d="M4 7h8.500M17.500 7H20M4 17h2.500M11.500 17H20"/><circle cx="15" cy="7" r="2.500"/><circle cx="9" cy="17" r="2.500"/>',
  link: '<path d="M10 14a4 4 0 0 0 5.700 0l3.100-3.100a4 4 0 0 0-5.700-5.700L12 6.300M14 10a4 4 0 0 0-5.700 0l-3.100 3.100a4 4 0 0 0 5.700 5.700L12 17.700"/>',
  leave: '<path d="M3.200 14.300c-.7-1-.5-2.300.4-3.200 4.700-4.300 12.100-4.300 16.800 0 .9.900 1.100 2.200.4 3.200l-.8 1.100c-.4.600-1.200.8-1.900.5l-2.400-1a1.500 1.500 0 0 1-.9-1.600l.2-1.300a9.700 9.700 0 0 0-6 0l.2 1.300a1.500 1.500 0 0 1-.9 1.600l-2.400 1c-.7.300-1.500.1-1.900-.5z"/>',
  close: '<path d="m6 6 12 12M18 6 6 18"/>',
  send: '<path d="M4 12 20 4.500 15.500 20l-3.800-6.200zM11.700 13.800 20 4.500"/>',
  check: '<path d="m5 12.500 4.500 4.500L19 7.500"/>',
  speaker: '<path d="M4 9.500v5h3.500l4.500 4v-13l-4.500 4zM15.500 9a4.200 4.200 0 0 1 0 6M18 6.500a7.800 7.800 0 0 1 0 11"/>',
  warning: '<path d="M12 4 2.800 19.500h18.400zM12 10v4.500M12 17v.1"/>',
  bell: '<path d="M12 3.500a1.300 1.300 0 0 1 1.300 1.300v.4c2.300.6 3.700 2.500 3.700 5.200 0 2.600.7 3.700 1.600 4.500.5.500.2 1.400-.5 1.400H5.900c-.7 0-1-.9-.5-1.400.9-.8 1.600-1.900 1.600-4.500 0-2.700 1.400-4.600 3.700-5.200v-.4A1.300 1.300 0 0 1 12 3.500zM10 19.300a2.200 2.200 0 0 0 4 0"/>',
};

export function icon(name) {
  const holder = document.createElement('template');
  holder.innerHTML = `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${shapes[name]}</svg>`;
  return holder.content.firstChild;
}

// setIcon changes a button's picture and name at once, so the two cannot disagree.
export function setIcon(button, name, label) {
  button.querySelector('.icon')?.replaceWith(icon(name));
  button.setAttribute('aria-label', label);
  button.title = label;
}

export function toast(text, kind = 'info') {
  const holder = document.getElementById('toasts');
  const element = h('div', { class: `toast ${kind}`, role: kind === 'error' ? 'alert' : null, 'data-testid': 'toast' }, text);
  holder.append(element);
  while (holder.children.length > 3) holder.firstChild.remove();
  setTimeout(() => element.remove(), kind === 'error' ? 8000 : 4000);
}

// hear adds a listener that ends with the signal of its view.
export function hear(target, type, listener, signal) {
  target.addEventListener(type, listener, { signal });
}
