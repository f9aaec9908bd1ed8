import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stage, tones, everyTone, sleep } from '../harness/meeting.mjs';

const on = stage();

test('alone and in company, a session stays up for minutes without a reconnection', async () => {
  const alone = await on.gather(['ann'], { ann: { tone: 0 } });
  const company = await on.gather(['ben', 'cat']);
  await sleep(130_000);
  for (const person of [alone.ann, company.ben, company.cat]) {
    assert.equal(await person.run(() => window.person.count('start')), 1, 'the client connected more than once');
    assert.equal(await person.run(() => window.person.count('stop')), 0);
    // To a page that was held up for long, packets have not come for as long.
    const [poor, heldUp] = await person.run(() => [window.person.count('poor'), window.person.heldUp]);
    assert.ok(poor === 0 || heldUp > 500, `the client was told ${poor} times that its connection is poor; the page was never held up for more than ${heldUp} ms`);
  }
  await company.ben.hears([tones.cat], everyTone);
  await company.cat.hears([tones.ben], everyTone);
});
