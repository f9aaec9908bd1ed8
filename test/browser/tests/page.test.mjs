// The meeting page as its visitors use it: through what they see and press.
import { test, before, after, afterEach } from 'node:test';
import assert from 'node:assert/strict';
import { Browser } from '../harness/browser.mjs';
import { Server } from '../harness/server.mjs';
import { eventually } from '../harness/meeting.mjs';

let server, browser;
const visitors = [];

before(async () => {
  server = await Server.start();
  browser = await Browser.start();
});
afterEach(async () => {
  await Promise.all(visitors.splice(0).map(({ context }) => context.close()));
});
after(async () => {
  await browser?.stop();
  await server?.stop();
});

const at = (id) => `[data-testid="${id}"]`;

/** A visitor with a name of their own on the page at path; all that the page asks for and complains of is kept. */
async function visit(path, name, prepare) {
  const context = await browser.context({ viewport: { width: 1280, height: 800 } });
  await context.addInitScript((name) => localStorage.setItem('belfry.name', name), name);
  if (prepare) await context.addInitScript(prepare);
  const page = await context.newPage();
  const visitor = { context, page, requests: [], complaints: [] };
  page.on('request', (request) => visitor.requests.push(request.url()));
  page.on('websocket', (socket) => visitor.requests.push(socket.url()));
  page.on('pageerror', (error) => visitor.complaints.push(String(error)));
  page.on('console', (message) => /Content Security Policy/i.test(message.text()) && visitor.complaints.push(message.text()));
  visitors.push(visitor);
  await page.goto(server.url + path);
  return visitor;
}

async function join(visitor) {
  await visitor.page.click(at('join-button'));
  await visitor.page.waitForSelector(`${at('meeting')}[data-state="connected"]`);
}

/** Ann opens a meeting and ben follows her link. */
async function two() {
  const ann = await visit('/meet/', 'Ann <b>');
  await ann.page.click(at('create-button'));
  await ann.page.waitForSelector(`${at('meeting')}[data-state="connected"]`);
  const path = new URL(ann.page.url()).pathname;
  assert.match(path, /^\/meet\/[a-z]+-[a-z]+-[a-z2-9]{6}$/);
  const ben = await visit(path, 'Бен');
  await join(ben);
  return { ann, ben };
}

/** Waits until the video in the element plays. */
const plays = (page, selector) => page.waitForFunction((selector) => {
  const video = document.querySelector(selector);
  return video && !video.hidden && video.videoWidth > 0 && video.currentTime > 0.5;
}, `${selector} video`);

const ended = async ({ page }) => {
  await page.waitForSelector(at('ended'));
  return page.getAttribute(at('ended'), 'data-reason');
};

test('two people see each other, talk, share and leave', async () => {
  const { ann, ben } = await two();
  for (const { page } of [ann, ben]) {
    await plays(page, '[data-testid="tile"][data-name="Ann <b>"]');
    await plays(page, '[data-testid="tile"][data-name="Бен"]');
  }

  await ann.page.click(at('chat-button'));
  await ann.page.fill(at('chat-input'), 'look: <img src=x onerror=alert(1)> https://example.org/a?b=1.');
  await ann.page.keyboard.press('Enter');
  await ben.page.waitForSelector(`${at('chat-unread')}:not([hidden])`);
  await ben.page.click(at('chat-button'));
  const text = ben.page.locator(at('chat-text'));
  assert.equal(await text.textContent(), 'look: <img src=x onerror=alert(1)> https://example.org/a?b=1.');
  assert.equal(await text.locator('a').getAttribute('href'), 'https://example.org/a?b=1');
  assert.equal(await ben.page.getAttribute(at('chat-message'), 'data-name'), 'Ann <b>');

  await ann.page.click(at('roster-button'));
  const benInRoster = '[data-testid="roster-item"][data-name="Бен"]';
  await ann.page.waitForFunction((row) => Number(document.querySelector(row)?.dataset.volume) > 0, benInRoster); // the fake microphone beeps
  await ben.page.click(at('mute-button'));
  await ann.page.waitForSelector(`${benInRoster}[data-muted="true"]`);
  await ben.page.click(at('camera-button'));
  await ann.page.waitForSelector('[data-testid="tile"][data-name="Бен"][data-video="false"]');

  await ben.page.evaluate(() => { // a screen without the browser's own dialog
    navigator.mediaDevices.getDisplayMedia = async () => {
      const canvas = document.createElement('canvas');
      const draw = canvas.getContext('2d');
      setInterval(() => draw.fillRect(0, 0, canvas.width = 320, canvas.height = 180), 100);
      return canvas.captureStream(10);
    };
  });
  await ben.page.click(at('share-button'));
  await plays(ann.page, at('share-tile'));
  await ben.page.click(at('own-share-stop'));
  await ann.page.waitForSelector(at('share-tile'), { state: 'detached' });

  await ben.page.click(at('leave-button'));
  await ben.page.click(at('leave-confirm'));
  assert.equal(await ended(ben), 'left');
  await ann.page.waitForSelector(benInRoster, { state: 'detached' });
  for (const visitor of [ann, ben]) {
    assert.deepEqual(visitor.complaints, []);
    const hosts = new Set(visitor.requests.filter((url) => !/^(blob|data):/.test(url)).map((url) => new URL(url).host));
    assert.deepEqual([...hosts], [new URL(server.url).host]);
  }
});

test('ending it for everyone ends it for all, and the room can be opened again', async () => {
  const { ann, ben } = await two();
  // The end may reach the client before the answer to who asked for it.
  await ben.page.route('**/meet/api/end', async (route) => {
    const response = await route.fetch();
    await ben.page.waitForSelector(at('ended'));
    await route.fulfill({ response });
  });
  await ben.page.click(at('leave-button'));
  await ben.page.click(at('end-button'));
  assert.equal(await ended(ben), 'endedByMe');
  assert.equal(await ended(ann), 'ended');
  await ann.page.click(at('rejoin-button'));
  await join(ann);
});

test('without a microphone and a camera one listens', async () => {
  const { ann } = await two();
  const path = new URL(ann.page.url()).pathname;
  const cat = await visit(path, 'Cat', () => {
    navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); };
  });
  await cat.page.waitForSelector(at('listen-only'));
  await join(cat);
  await plays(cat.page, '[data-testid="tile"][data-name="Ann <b>"]');
  await ann.page.waitForSelector('[data-testid="tile"][data-name="Cat"]');
  assert.deepEqual(cat.complaints, []);
});

test('a link that is none, and a room that is named by hand', async () => {
  const ann = await visit('/meet/Not_A_Room', 'Ann');
  assert.match(await ann.page.textContent(at('problem')), /not one of a meeting/);
  await ann.page.fill(at('room-input'), `${server.url}/meet/monday-talk?x=1`);
  await join(ann);
  assert.equal(new URL(ann.page.url()).pathname, '/meet/monday-talk');
});

test('licences of all that is in the bundle', async () => {
  const { page } = await visit('/meet/licenses', 'Ann');
  const names = await page.locator('summary').allTextContents();
  for (const name of ['amazon-chime-sdk-js 3.32.0', 'protobufjs', 'pako', '@fontsource-variable/figtree']) {
    assert.ok(names.some((text) => text.startsWith(name)), `${name} in ${names}`);
  }
});

test('going back while joining goes back', async () => {
  const { page } = await visit('/meet/', 'Ann');
  let arrived;
  const held = new Promise((resolve) => { arrived = resolve; });
  await page.route('**/meet/api/join', async (route) => {
    arrived();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  const answered = page.waitForResponse('**/meet/api/join');
  await page.click(at('create-button'));
  await held;
  await page.goBack();
  await page.waitForSelector(at('create-button'));
  await answered;
  await page.waitForTimeout(1000);
  assert.equal(await page.locator(at('meeting')).count(), 0, 'the meeting was entered all the same');
});

test('who needs the relay comes in with the camera on', async () => {
  // Nothing answers at the address that clients are told; the relay knows the real one.
  const hidden = await Server.start({ env: { BELFRY_MEDIA_ADVERTISE: '127.0.0.1:27998', BELFRY_TURN: 'auto' } });
  const usual = server;
  try {
    server = hidden;
    const { page } = await visit('/meet/', 'Ann');
    await page.click(at('create-button'));
    await page.waitForSelector(`${at('meeting')}[data-state="connected"]`);
    await plays(page, '[data-testid="tile"][data-name="Ann"]');
    await eventually('video through the relay', async () => (await hidden.metric('belfry_media_video_in_total')) > 50);
    assert.ok(await hidden.metric('belfry_turn_allocations') >= 1);
    await eventually('the page to say no more that the connection is poor', async () => await page.locator('.poor').count() === 0);
  } finally {
    server = usual;
    await Promise.all(visitors.splice(0).map(({ context }) => context.close()));
    await hidden.stop();
  }
});
