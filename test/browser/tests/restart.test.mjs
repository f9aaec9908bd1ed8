import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Browser } from '../harness/browser.mjs';
import { Server, ownHost } from '../harness/server.mjs';
import { tones, everyTone } from '../harness/meeting.mjs';

let browser;
before(async () => { browser = await Browser.start(); });
after(() => browser?.stop());

test('ended by Ctrl-C the server is gone, and its clients come back to the next one by themselves', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'belfry-test-'));
  try {
    let server = await Server.start({ dataDir, listen: `${ownHost}:0` });
    const meeting = await server.meeting();
    const people = {};
    for (const name of ['ann', 'ben']) {
      people[name] = await browser.join(meeting, await server.attendee(meeting, name), { tone: tones[name] });
    }
    const { ann, ben } = people;
    await ann.hears([tones.ben], everyTone);
    const begun = Date.now();
    await server.stop('SIGINT');
    const took = Date.now() - begun;
    // What takes longer than the second and a half that it gives itself is left behind, with
    // an error: then it was the machine that stood still.
    if (took < 1000) assert.equal(server.process.exitCode, 0, server.stderr);
    assert.ok(took < 20_000, `took ${took} ms`);
    for (const person of [ann, ben]) {
      await person.until('to be told', () => window.person.count('connecting') > 1);
    }
    server = await Server.start({ dataDir, listen: new URL(server.url).host });
    try {
      for (const person of [ann, ben]) await person.until('a second start', () => window.person.count('start') >= 2);
      await ann.hears([tones.ben], everyTone);
      await ben.hears([tones.ann], everyTone);
    } finally {
      await server.stop();
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
