// Screens shared and viewed by the clients that had a way of their own for it,
// up to 1.22: a recording goes up, tiles of JPEG come down.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { stage, eventually } from '../harness/meeting.mjs';

const on = stage();
const here = path.dirname(fileURLToPath(import.meta.url));
const scripts = {};

async function script(version) {
  const { outputFiles } = await build({
    entryPoints: [path.join(here, '../harness/screen.client.js')], bundle: true, write: false, format: 'iife', platform: 'browser',
    alias: { 'amazon-chime-sdk-js': path.join(here, `../node_modules/client-${version}`) }, define: { global: 'globalThis' }, logLevel: 'error',
  });
  return outputFiles[0].text;
}

/** Someone on a page of their own with that version of the client. */
async function person(version, meeting, name) {
  const attendee = await on.server.attendee(meeting, name);
  const someone = await on.browser.person();
  scripts[version] ??= script(version);
  await someone.page.addScriptTag({ content: await scripts[version] });
  await someone.run(([m, a]) => window.legacy.open(m, a), [meeting, attendee]);
  return Object.assign(someone, { attendee, id: attendee.AttendeeId });
}

const share = (who, ...args) => who.run((a) => window.legacy.share(...a), args);
const view = async (who) => { await who.run(() => window.legacy.listen()); await who.run(() => window.legacy.view()); };
const look = (who, points) => who.run((p) => window.legacy.look(p), points);
const said = (who, ...what) => eventually(`${what} to be said`, async () => {
  const seen = await who.run(() => window.legacy.seen);
  return seen.some((entry) => String(entry) === String(what));
});

const near = ([r, g, b], want) => [r, g, b].every((value, i) => Math.abs(value - want[i]) < 40);
const red = [255, 0, 0], lime = [0, 255, 0], blue = [0, 0, 255], white = [255, 255, 255];

/** Waits until a viewer sees these colours, as pairs of a point and a colour. */
async function sees(who, size, pairs) {
  let last;
  try {
    await eventually('the picture', async () => {
      last = await look(who, pairs.map(([point]) => point));
      return last && `${last.width}x${last.height}` === size && pairs.every(([, colour], i) => near(last.colours[i], colour));
    });
  } catch (error) {
    throw new Error(`${error.message}; saw ${JSON.stringify(last)}; errors ${who.errors}`);
  }
}

// A screen that is no whole number of tiles or macroblocks, in four quarters.
const quarters = (a, b, c, d) => [[a, 0, 0, 300, 150], [b, 300, 0, 300, 150], [c, 0, 150, 300, 150], [d, 300, 150, 300, 150]];
const points = [[20, 20], [590, 10], [10, 290], [597, 297]];

for (const version of ['1.22.0', '1.1.0']) {
  test(`client ${version} shares its screen, and others see it, change with it and see its end`, async () => {
    const meeting = await on.server.meeting();
    const ann = await person(version, meeting, 'ann');
    const ben = await person(version, meeting, 'ben');
    await view(ben);
    await share(ann, 600, 300, quarters('red', 'lime', 'blue', 'white'));
    await said(ben, 'start', ann.id);
    await sees(ben, '600x300', [[points[0], red], [points[1], lime], [points[2], blue], [points[3], white]]);

    // One corner changes.
    await ann.run(() => window.legacy.paint([['lime', 0, 0, 100, 100]]));
    await sees(ben, '600x300', [[points[0], lime], [points[1], lime], [points[2], blue], [points[3], white]]);

    // One who comes late is told and sees the whole at once.
    const cat = await person(version, meeting, 'cat');
    await view(cat);
    await said(cat, 'start', ann.id);
    await sees(cat, '600x300', [[points[0], lime], [points[1], lime], [points[2], blue], [points[3], white]]);

    await ann.run(() => window.legacy.stop());
    await said(ben, 'stop', ann.id);
    await said(cat, 'stop', ann.id);
    await eventually('the view to end', async () => await look(ben, []) === null);

    // Again, on the same socket of the one who shares; the viewer looks anew.
    await ben.run(() => window.legacy.unview());
    await ann.run(() => { window.legacy.paint([['blue', 0, 0, 600, 300]]); return window.legacy.again(); });
    await ben.run(() => window.legacy.view());
    await sees(ben, '600x300', [[points[0], blue], [points[3], blue]]);
  });
}

test('who shares later takes over, and one who vanishes shares no more', async () => {
  const meeting = await on.server.meeting();
  const ann = await person('1.22.0', meeting, 'ann');
  const ben = await person('1.1.0', meeting, 'ben');
  const cat = await person('1.22.0', meeting, 'cat');
  await view(cat);
  await share(ann, 600, 300, [['red', 0, 0, 600, 300]]);
  await sees(cat, '600x300', [[points[0], red], [points[3], red]]);
  await share(ben, 200, 400, [['blue', 0, 0, 200, 400]]);
  await said(cat, 'switch', ben.id);
  await said(ann, 'stopped');
  await sees(cat, '200x400', [[[10, 10], blue], [[190, 390], blue]]);
  await ben.context.close();
  await said(cat, 'stop', ben.id);
  await eventually('the view to end', async () => await look(cat, []) === null);
});

test('who may not share content is told to stop, and a deleted attendee shares no more', async () => {
  const meeting = await on.server.meeting();
  const ann = await person('1.22.0', meeting, 'ann');
  const ben = await person('1.22.0', meeting, 'ben');
  await ben.run(() => window.legacy.listen());
  await on.server.allow(meeting, ann.attendee, { Content: 'Receive' });
  await share(ann, 600, 300, [['red', 0, 0, 600, 300]]);
  await said(ann, 'told to stop');
  await on.server.allow(meeting, ann.attendee, {});
  await eventually('the share to begin', async () => {
    await ann.run(() => window.legacy.again()).catch(() => {}); // until the one before has stopped
    return (await ben.run(() => window.legacy.seen)).length > 0;
  });
  await said(ben, 'start', ann.id);
  await on.server.deleteAttendee(meeting, ann.attendee);
  await said(ann, 'closed', 1000);
  await said(ben, 'stop', ann.id);
});
