import { h, icon } from './dom.js';
import { deviceFields, meterBar, playChime } from './controls.js';

// open shows a native dialog and answers a promise for what was chosen ('' when dismissed).
function open(dialog) {
  document.body.append(dialog);
  dialog.addEventListener('click', event => event.target === dialog && dialog.close(''));
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => {
    resolve(dialog.returnValue);
    dialog.remove();
  }));
}

const choice = (value, css, testid, ...content) => h('button', { value, class: css, 'data-testid': testid }, ...content);

// askLeave answers 'leave', 'end' or ''.
export function askLeave() {
  return open(h('dialog', { class: 'dialog', 'aria-labelledby': 'leave-title', 'data-testid': 'leave-dialog' },
    h('form', { method: 'dialog' },
      h('h2', { id: 'leave-title' }, 'Leave this meeting?'),
      h('p', {}, 'You can come back with the same link while it goes on. Ending it puts everybody out.'),
      h('div', { class: 'stack' },
        choice('leave', 'danger', 'leave-confirm', 'Leave the meeting'),
        choice('end', 'secondary danger-text', 'end-button', 'End it for everyone'),
        choice('', 'secondary', 'leave-cancel', 'Stay')))));
}

// deviceDialog lets the person change devices in a meeting.
export function deviceDialog(devices, { onchoose, retry }) {
  const over = new AbortController();
  const meter = meterBar('settings-mic-meter');
  let stop = () => {};
  let metered = null;
  const listen = () => {
    if (metered === devices.mic) return;
    metered = devices.mic;
    stop();
    stop = devices.meter(level => meter.set(level));
  };
  devices.addEventListener('change', listen, { signal: over.signal });
  listen();
  const [mic, camera, speaker] = deviceFields(devices, { onchoose, retry, signal: over.signal, prefix: 'settings-' });
  const closed = open(h('dialog', { class: 'dialog', 'aria-labelledby': 'settings-title', 'data-testid': 'settings-dialog' },
    h('form', { method: 'dialog' },
      h('header', { class: 'panel-head' }, h('h2', { id: 'settings-title' }, 'Devices'), h('button', { value: '', class: 'quiet', 'aria-label': 'Close devices', 'data-testid': 'settings-close' }, icon('close'))),
      mic, meter.bar, camera, speaker,
      h('button', { type: 'button', class: 'secondary', 'data-testid': 'speaker-test', onclick: () => playChime(devices.speaker) }, icon('speaker'), 'Ring the bell to test the speaker'))));
  closed.then(() => {
    over.abort();
    stop();
  });
  return closed;
}
