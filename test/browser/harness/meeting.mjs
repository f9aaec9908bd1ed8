// What every test file begins with: one server and one browser for its tests.
import { after, afterEach, before } from 'node:test';
import { Browser } from './browser.mjs';
import { patience } from './patience.mjs';
import { Server } from './server.mjs';

/** Tones and colours that can be told apart however they are mixed or coded. */
export const tones = { ann: 440, ben: 1000, cat: 1800, dan: 2900 };
export const everyTone = Object.values(tones);
export const colours = { ann: 'red', ben: 'lime', cat: 'blue', dan: 'yellow' };

/**
 * Registers set-up and tear-down; the returned object is filled before the first test.
 * more() adds to the set-up: hooks of the file itself would not wait for it. before()
 * comes before the server and may return settings for it; flags are Chromium's.
 */
export function stage({ more, before: first, flags, ...options } = {}) {
  const on = {};
  before(async () => {
    const settings = await first?.(on);
    on.server = await Server.start({ ...options, env: { ...options.env, ...settings } });
    on.browser = await Browser.start({ flags });
    await more?.(on);
  });
  afterEach(() => on.browser.clear());
  after(async () => {
    await on.browser?.stop();
    await on.server?.stop();
  });

  /** Makes a meeting with people of these names in it; per-person options by name. */
  on.gather = async (names, each = {}) => {
    const meeting = await on.server.meeting();
    const people = { meeting };
    for (const name of names) {
      const attendee = await on.server.attendee(meeting, name);
      people[name] = await on.browser.join(meeting, attendee, { tone: tones[name], ...each[name] });
      people[name].attendee = attendee;
    }
    return people;
  };
  return on;
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Polls until check returns something true. */
export async function eventually(what, check, timeout = patience) {
  const deadline = Date.now() + timeout;
  let last;
  while (Date.now() < deadline) {
    last = await check();
    if (last) return last;
    await sleep(100);
  }
  throw new Error(`waited ${timeout} ms for ${what}; last was ${JSON.stringify(last)}`);
}
