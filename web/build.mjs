// Bundles the page into ../internal/page/dist, from where the Go program embeds
// it, and writes the licences of everything that is in the bundle beside it.
//
//   node build.mjs            once
//   node build.mjs --watch    again at each change

import * as esbuild from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const source = path.join(here, 'src');
const dist = path.join(here, '..', 'internal', 'page', 'dist');

// A licence's text is recognised by words that only it has. One that is not listed here
// stops the build, so that somebody looks at what it asks for.
const recognise = {
  '0BSD': /Permission to use, copy, modify, and\/or distribute/i,
  'Apache-2.0': /Apache License/i,
  'BSD-3-Clause': /Redistribution and use in source and binary forms/i,
  MIT: /Permission is hereby granted, free of charge/i,
  'OFL-1.1': /SIL Open Font License/i,
  Zlib: /This software is provided 'as-is'/i,
};

const publish = {
  name: 'publish',
  setup(build) {
    build.onEnd(async result => {
      if (result.errors.length) return;
      // Everything is made before anything is written: a build that fails leaves dist as it was.
      const files = new Map(result.outputFiles.map(file => [path.relative(dist, file.path), file.contents]));
      const icon = await readFile(path.join(source, 'icon.svg'));
      files.set(`assets/icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`, icon);
      const asset = pattern => [...files.keys()].map(name => path.basename(name)).find(name => pattern.test(name));
      const fill = {
        '{{app.js}}': asset(/^app-.*\.js$/),
        '{{app.css}}': asset(/^app-.*\.css$/),
        '{{icon.svg}}': asset(/^icon-.*\.svg$/),
        '{{font}}': asset(/-latin-wght-normal-.*\.woff2$/),
        '{{licenses}}': await licences(result.metafile),
      };
      for (const page of ['index.html', 'licenses.html']) {
        let html = await readFile(path.join(source, page), 'utf8');
        for (const [mark, value] of Object.entries(fill)) {
          if (!value) throw new Error(`the bundle has nothing for ${mark}`);
          html = html.replaceAll(mark, () => value);
        }
        files.set(page, html);
      }
      await clean();
      for (const [name, contents] of files) await writeFile(path.join(dist, name), contents);
      console.log(`page: ${[...files.keys()].join(', ')}`);
    });
  },
};

const options = {
  entryPoints: { app: path.join(source, 'main.js') },
  outdir: path.join(dist, 'assets'),
  entryNames: '[name]-[hash]',
  assetNames: '[name]-[hash]',
  loader: { '.woff2': 'file' },
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  // The media client is CommonJS, and requires libraries whose CommonJS form is for
  // Node alone; their "module" form runs in a browser.
  mainFields: ['browser', 'module', 'main'],
  define: { global: 'globalThis' }, // the client's event reporter names it as Node does
  legalComments: 'none', // all licence texts are on the licences page
  metafile: true,
  write: false,
  logLevel: 'warning',
  plugins: [publish],
};

if (process.argv.includes('--watch')) {
  await (await esbuild.context(options)).watch();
} else {
  await esbuild.build(options);
}

async function clean() {
  await mkdir(dist, { recursive: true });
  for (const entry of await readdir(dist)) {
    if (!entry.startsWith('.')) await rm(path.join(dist, entry), { recursive: true });
  }
  await mkdir(path.join(dist, 'assets'));
}

// licences reads, for each package that has code in the bundle, what it says of itself.
async function licences(metafile) {
  const roots = new Set();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const at = input.lastIndexOf('node_modules/');
      if (at < 0 || bytesInOutput === 0) continue;
      const inside = input.slice(at + 'node_modules/'.length).split('/');
      const name = inside.slice(0, inside[0].startsWith('@') ? 2 : 1).join('/');
      roots.add(path.resolve(input.slice(0, at), 'node_modules', name));
    }
  }
  const packages = new Map();
  for (const root of roots) {
    const about = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'));
    packages.set(`${about.name} ${about.version}`, {
      licence: licenceName(about),
      text: await licenceText(root, about),
    });
  }
  return [...packages]
    .sort(([a], [b]) => a.localeCompare(b, 'en'))
    .map(([name, { licence, text }]) =>
      `<details><summary><span>${escape(name)}</span> <small>${escape(licence)}</small></summary><pre>${escape(text)}</pre></details>`)
    .join('\n');
}

// licenceText answers the texts of all licences that the package names.
async function licenceText(root, about) {
  const files = (await readdir(root)).filter(name => /^(licen[cs]e|notice|copying)/i.test(name)).sort();
  if (about.name === 'pako') files.push('lib/zlib/README'); // where its second licence is
  const texts = await Promise.all(files.map(name => readFile(path.join(root, name), 'utf8')));
  const text = texts.map(text => text.trim()).join('\n\n');
  const named = (licenceName(about).match(/[\w.-]+/g) ?? []).filter(word => !/^(and|or|with)$/i.test(word));
  for (const licence of named) {
    if (!recognise[licence]?.test(text)) throw new Error(`${about.name} ${about.version}: the text of its licence ${licence} was not found`);
  }
  if (!named.length) throw new Error(`${about.name} ${about.version} names no licence`);
  return text;
}

function licenceName(about) {
  return typeof about.license === 'string' ? about.license : (about.license?.type ?? '');
}

function escape(text) {
  return text.replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
}
