// One Chromium, driven by lines of JSON: {id, page, call, arg} on standard input, the
// answer {id, value} or {id, error} on standard output. It is started in the network
// namespace of one client by test/networks.
import { createInterface } from 'node:readline';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const sound = readFileSync(process.argv[2]);
const { outputFiles: [{ contents: script }] } = await build({
  entryPoints: [path.join(here, 'subject.client.js')], bundle: true, write: false, format: 'iife', platform: 'browser',
  mainFields: ['browser', 'module', 'main'], conditions: ['browser', 'module', 'import'], define: { global: 'globalThis' }, logLevel: 'error',
});
const worklet = readFileSync(path.join(here, 'worklet.js'));

const site = createServer((request, response) => {
  const [type, body] = {
    '/subject.js': ['text/javascript', script], '/worklet.js': ['text/javascript', worklet], '/sound': ['application/octet-stream', sound],
  }[request.url] ?? ['text/html', '<!doctype html><title>A builder\'s page</title><body><script src="/subject.js"></script>'];
  response.setHeader('Content-Type', type);
  response.end(body);
}).listen(0, '127.0.0.1');
await once(site, 'listening');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-features=WebRtcHideLocalIpsWithMdns', '--autoplay-policy=no-user-gesture-required',
    '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding'],
});

const pages = new Map();
const deeds = {
  async open({ page }) {
    const context = await browser.newContext();
    const tab = await context.newPage();
    pages.set(page, { context, tab, errors: [] });
    tab.on('pageerror', (error) => pages.get(page)?.errors.push(String(error)));
    await tab.goto(`http://127.0.0.1:${site.address().port}/`);
    await tab.waitForFunction(() => window.subject !== undefined);
  },
  async close({ page }) {
    await pages.get(page)?.context.close();
    pages.delete(page);
  },
};

const answer = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
answer({ id: 0, value: browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const { tab, errors } = pages.get(request.page) ?? {};
  const doing = deeds[request.call]?.(request)
    ?? tab.evaluate(([call, arg]) => window.subject[call](arg), [request.call, request.arg]);
  doing.then((value) => answer({ id: request.id, value: value ?? null }),
    (error) => answer({ id: request.id, error: [error.message, ...(errors ?? [])].join('\n') }));
}
await browser.close();
site.close();
