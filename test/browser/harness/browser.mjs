// Chromium with people in it: each has a page and a browser context of its own.
import { createServer } from 'node:http';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { patience } from './patience.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The page's script with the client at this path, or the newest. */
async function bundle(client) {
  const { outputFiles } = await build({
    entryPoints: [path.join(here, 'person.client.js')], bundle: true, write: false, format: 'iife', platform: 'browser',
    alias: client ? { 'amazon-chime-sdk-js': client } : {},
    mainFields: ['browser', 'module', 'main'], conditions: ['browser', 'module', 'import'], define: { global: 'globalThis' }, logLevel: 'error',
  });
  return outputFiles[0].contents;
}

export class Browser {
  /** flags are more of Chromium's own. */
  static async start({ flags = [] } = {}) {
    const browser = new Browser();
    browser.bundles = [];
    // The application's page: its origin is another than the server's, as a builder's is.
    browser.site = createServer(async (request, response) => {
      const url = new URL(request.url, 'http://site');
      if (url.pathname === '/person.js') {
        const script = await browser.bundles[Number(url.searchParams.get('client'))].script;
        response.setHeader('Content-Type', 'text/javascript');
        response.end(script);
        return;
      }
      response.setHeader('Content-Type', 'text/html');
      response.end(`<!doctype html><title>A builder's page</title><body><script src="/person.js${url.search}"></script>`);
    }).listen(0, '127.0.0.1');
    await once(browser.site, 'listening');
    browser.origin = `http://127.0.0.1:${browser.site.address().port}/`;
    browser.chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, timeout: patience,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
        '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
        '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding', ...flags],
    });
    browser.people = [];
    return browser;
  }

  /** The number of the page's script with the client at this path; it is bundled once. */
  async bundle(client) {
    let at = this.bundles.findIndex((bundle) => bundle.client === client);
    if (at < 0) at = this.bundles.push({ client, script: bundle(client) }) - 1;
    await this.bundles[at].script;
    return at;
  }

  /** A fresh context, as patient as all else. */
  async context(options) {
    const context = await this.chromium.newContext(options);
    context.setDefaultTimeout(patience);
    return context;
  }

  /** A person on a fresh page, not yet in a meeting; client is the path of another version's package. */
  async person(client = process.env.CHIME_CLIENT) {
    const at = await this.bundle(client);
    const context = await this.context();
    const page = await context.newPage();
    const person = new Person(page, context);
    page.on('pageerror', (error) => person.errors.push(String(error)));
    await page.goto(`${this.origin}?client=${at}`);
    await page.waitForFunction(() => window.person !== undefined);
    this.people.push(person);
    return person;
  }

  /** A person who has joined; options are those of Person.join in the page, and the client as above. */
  async join(meeting, attendee, { client, ...options } = {}) {
    const person = await this.person(client);
    await person.join(meeting, attendee, options);
    await person.until('audioVideoDidStart', () => window.person.count('start') > 0);
    return person;
  }

  /** Ends all pages, so that the next test begins with an empty browser. */
  async clear() {
    await Promise.all(this.people.splice(0).map((person) => person.context.close()));
  }

  async stop() {
    await this.chromium.close();
    this.site.close();
  }
}

export class Person {
  constructor(page, context) {
    this.page = page;
    this.context = context;
    this.errors = [];
  }

  join(meeting, attendee, options = {}) {
    this.id = attendee.AttendeeId;
    return this.page.evaluate((args) => window.person.join(args), { meeting, attendee, ...options });
  }

  /** Runs in the page with window.person. */
  run(fn, arg) { return this.page.evaluate(fn, arg); }

  /** Waits until fn, run in the page, is true; else fails saying what was missing and the page's log. */
  async until(what, fn, arg, timeout = patience) {
    try {
      await this.page.waitForFunction(fn, arg, { timeout, polling: 100 });
    } catch (error) {
      const state = await this.page.evaluate(() => ({ log: window.person.log.slice(-15), tiles: window.person.tiles() })).catch(() => 'the page is gone');
      throw new Error(`waited ${timeout} ms for ${what}: ${error.message}\n${JSON.stringify(state, null, 1)}\n${this.errors.join('\n')}`);
    }
  }

  hear(frequencies, milliseconds) {
    return this.page.evaluate(([list, time]) => window.person.hear(list, time), [frequencies, milliseconds]);
  }

  /** Waits until exactly the wanted ones of all frequencies are heard. */
  async hears(wanted, all, timeout = patience) {
    const deadline = Date.now() + timeout;
    let levels;
    do {
      levels = await this.hear(all);
      // A tone of this microphone arrives at about -25 dB; what is not there stays under -80 dB.
      const heard = all.map((frequency, i) => (levels[i] > -45 ? frequency : 0)).filter(Boolean);
      const silent = all.filter((frequency, i) => levels[i] < -60);
      if (String(heard) === String(wanted) && heard.length + silent.length === all.length) return levels;
    } while (Date.now() < deadline);
    throw new Error(`wanted to hear ${wanted} of ${all}, got levels ${levels.map((level) => level.toFixed(0))}`);
  }

  tiles() { return this.page.evaluate(() => window.person.tiles()); }

  /** Waits until exactly these tiles are seen: attendee id to 'red', 'green', 'blue' or 'yellow'. */
  async sees(wanted, timeout = patience) {
    const deadline = Date.now() + timeout;
    let seen;
    do {
      seen = Object.fromEntries((await this.tiles()).filter((tile) => tile.frames > 0).map((tile) => [tile.attendee, colourOf(tile)]));
      if (JSON.stringify(sorted(seen)) === JSON.stringify(sorted(wanted))) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    } while (Date.now() < deadline);
    throw new Error(`wanted to see ${JSON.stringify(wanted)}, saw ${JSON.stringify(seen)}; ${JSON.stringify(await this.tiles())}`);
  }
}

const sorted = (object) => Object.entries(object).sort();

function colourOf({ red, green, blue }) {
  const bright = (value) => value > 140;
  const dark = (value) => value < 110;
  if (bright(red) && dark(green) && dark(blue)) return 'red';
  if (dark(red) && bright(green) && dark(blue)) return 'lime';
  if (dark(red) && dark(green) && bright(blue)) return 'blue';
  if (bright(red) && bright(green) && dark(blue)) return 'yellow';
  return `${red},${green},${blue}`;
}
