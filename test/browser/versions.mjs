// Takes published versions of the browser client through one scenario each and
// writes their rows into docs/clients.md:
//   node versions.mjs               all of versions/package.json
//   node versions.mjs 1.1.0 2.31.0  only these
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Browser } from './harness/browser.mjs';
import { Server } from './harness/server.mjs';
import { features, newest, scenario, waysOf } from './harness/scenario.mjs';
import { rowOf, write } from './harness/table.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const { dependencies } = JSON.parse(readFileSync(path.join(here, 'versions/package.json'), 'utf8'));
const all = Object.keys(dependencies).map((name) => name.replace('client-', ''));
const wanted = process.argv.length > 2 ? process.argv.slice(2) : all;
const unknown = wanted.filter((version) => !all.includes(version));
if (unknown.length) throw new Error(`versions/package.json has no ${unknown.join(', ')}`);
const names = all.flatMap(waysOf).map(({ name }) => name);

const on = { server: await Server.start(), browser: await Browser.start() };
const rows = {};
let failures = 0;
try {
  for (const way of wanted.flatMap(waysOf)) {
    const begin = Date.now();
    const results = await scenario(on, way, path.join(here, 'versions/node_modules', `client-${way.version}`));
    const failed = features.filter(({ name }) => results[name] instanceof Error);
    failures += failed.length;
    rows[way.name] = rowOf(way, results);
    write(rows, names);
    console.log(`${rows[way.name]} ${((Date.now() - begin) / 1000).toFixed(0)} s`);
    for (const { name } of failed) console.log(`  ${name}: ${results[name].message}`);
    await on.browser.clear();
  }
} finally {
  await on.browser.stop();
  await on.server.stop();
}
console.log(`${wanted.length} versions with a partner on ${newest}: ${failures} failures`);
process.exit(failures > 0 ? 1 : 0);
