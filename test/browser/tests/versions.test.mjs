// The first, the last and the turns of the client's history; scripts/versions takes them all.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { stage } from '../harness/meeting.mjs';
import { newest, scenario, waysOf } from '../harness/scenario.mjs';
import { documented, rowOf } from '../harness/table.mjs';

const on = stage();
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const { devDependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const versions = Object.keys(devDependencies).filter((name) => name.startsWith('client-')).map((name) => [name.slice('client-'.length), name]);

for (const [version, name] of [...versions, [newest, 'amazon-chime-sdk-js']]) {
  const [way] = waysOf(version);
  test(`version ${version} meets the newest`, async () => {
    const results = await scenario(on, way, path.join(root, 'node_modules', name));
    for (const [feature, result] of Object.entries(results)) {
      if (result instanceof Error) throw new Error(`${version}, ${feature}: ${result.message}`);
    }
    assert.equal(documented()[way.name], rowOf(way, results), 'docs/clients.md says otherwise; scripts/versions writes it');
  });
}
