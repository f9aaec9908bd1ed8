// The table of docs/clients.md: a row for each version of the client, a column for each feature.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { features } from './scenario.mjs';

const doc = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../docs/clients.md');
const head = [
  `| Version | ${features.map(({ name }) => name).join(' | ')} |`,
  `| --- |${' :-: |'.repeat(features.length)}`,
];

/** The row of a way that went through the scenario with these results. */
export function rowOf({ name: way }, results) {
  const cells = features.map(({ name }) => {
    const result = results[name];
    if (result instanceof Error) return `fails: ${result.message.split('\n')[0].slice(0, 100).replaceAll('|', '/')}`;
    return { yes: '✓', no: '·' }[result];
  });
  return `| ${way} | ${cells.join(' | ')} |`;
}

/** The rows that stand in the page, by name. */
export const documented = () => find().rows;

/** Puts rows into the page; the others of names stay, and names gives the order. */
export function write(rows, names) {
  const { lines, from, to, rows: kept } = find();
  lines.splice(from, to - from, ...head, ...names.map((name) => rows[name] ?? kept[name]).filter(Boolean));
  writeFileSync(doc, lines.join('\n'));
}

function find() {
  const lines = readFileSync(doc, 'utf8').split('\n');
  const from = lines.findIndex((line) => line.startsWith('| Version'));
  const to = lines.findIndex((line, i) => i > from && !line.startsWith('|'));
  const rows = Object.fromEntries(lines.slice(from + 2, to).map((line) => [line.split(' | ')[0].slice(2), line]));
  return { lines, from, to, rows };
}
