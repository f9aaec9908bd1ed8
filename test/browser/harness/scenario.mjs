// One scenario that any version of the browser client can be taken through, with
// a partner on the newest: ann has the version in question, ben the newest. What is
// checked is what arrives: a tone, a colour, a name in the roster.
import { createRequire } from 'node:module';
import { colours, eventually, everyTone, tones } from './meeting.mjs';
import { patience } from './patience.mjs';

/** The version of the client that the other tests and the partner have. */
export const newest = createRequire(import.meta.url)('amazon-chime-sdk-js/package.json').version;

const started = (person) => person.until('audioVideoDidStart', () => window.person.count('start') > 0);

/** Everybody in ids is present at person's; with users, their ExternalUserIds too. */
async function meets(person, ids, users) {
  await person.until('everybody in the roster', (wanted) => wanted.every((id) => window.person.present[id]), ids);
  if (!users) return;
  const told = await person.run((id) => window.person.log.filter((entry) => entry.name === 'presence').filter((entry) => entry.detail.id === id).at(-1).detail.user, ids[0]);
  if (told !== users[0]) throw new Error(`the roster names ${ids[0]} ${JSON.stringify(told)}, not ${users[0]}`);
}

const present = (person, id, wanted, timeout) => person.until(`${id} ${wanted ? 'present' : 'gone'}`,
  ([who, is]) => (window.person.present[who] ?? false) === is, [id, wanted], timeout);

const muted = (person, id, wanted) => person.until(`${id} ${wanted ? '' : 'un'}muted`, ([who, is]) => window.person.muted[who] === is, [id, wanted]);

const say = (person, text) => person.run((words) => window.person.send(words), text);

const reads = (person, text, from) => person.until(`the message ${text}`,
  ([words, id]) => window.person.messages.some((message) => message.text === words && message.from === id), [text, from]);

/** Waits until the attendee's picture is of this colour and moves on. */
async function watches(person, id, colour) {
  await person.sees({ [id]: colour });
  const [{ frames }] = await person.tiles();
  await eventually('pictures that go on', async () => (await person.tiles())[0]?.frames > frames + 5);
}

/**
 * The ways to take a version: as it comes, and in 1.3 to 1.16 also with the option that makes
 * it ask for unified plan. name is what its row is called.
 */
export function waysOf(version) {
  const way = { version, name: version, unifiedPlan: !isBefore(version, '1.17.0'), films: isBefore(version, '2.21.0') || !isBefore(version, '2.24.0') };
  if (isBefore(version, '1.3.0') || way.unifiedPlan) return [way];
  return [way, { ...way, name: `${version}, unified plan`, unifiedPlan: true }];
}

// What is done, in this order; each step leaves cameras and shares off. since is the first
// version that has it. What needs unifiedPlan is not there for a client that takes a peer
// connection of Plan B for granted, which Chromium no longer makes. Who films not adds to the
// offer with its camera a header extension under the id of another, which Chromium refuses.
export const features = [
  {
    name: 'joins',
    async run({ on, meeting, ann, ben, client, unifiedPlan }) {
      ann.person = await on.browser.person(client);
      await ann.person.join(meeting, ann.attendee, { tone: tones.ann, unifiedPlan });
      await started(ann.person);
      ben.person = await on.browser.join(meeting, ben.attendee, { tone: tones.ben });
    },
  },
  {
    name: 'roster',
    async run({ ann, ben, version }) {
      // The first published version tells no ExternalUserId.
      await meets(ann.person, [ben.id, ann.id], isBefore(version, '1.2.0') ? undefined : ['ben']);
      await meets(ben.person, [ann.id, ben.id], ['ann']);
    },
  },
  { name: 'is heard', run: ({ ben }) => ben.person.hears([tones.ann], everyTone) },
  { name: 'hears', run: ({ ann }) => ann.person.hears([tones.ben], everyTone) },
  {
    name: 'mutes',
    async run({ ann, ben }) {
      await ann.person.run(() => window.person.av.realtimeMuteLocalAudio());
      await muted(ben.person, ann.id, true);
      await ben.person.hears([], everyTone);
      await ann.person.run(() => window.person.av.realtimeUnmuteLocalAudio());
      await muted(ben.person, ann.id, false);
      await ben.person.hears([tones.ann], everyTone);
    },
  },
  {
    name: 'sees mute',
    async run({ ann, ben }) {
      await ben.person.run(() => window.person.av.realtimeMuteLocalAudio());
      await muted(ann.person, ben.id, true);
      await ann.person.hears([], everyTone);
      await ben.person.run(() => window.person.av.realtimeUnmuteLocalAudio());
      await muted(ann.person, ben.id, false);
      await ann.person.hears([tones.ben], everyTone);
    },
  },
  {
    name: 'is seen', needs: 'films',
    async run({ ann, ben }) {
      for (const colour of [colours.ann, colours.dan]) {
        await ann.person.run((shown) => window.person.camera(shown), colour);
        await watches(ben.person, ann.id, colour);
        await ann.person.run(() => window.person.cameraOff());
        await ben.person.sees({});
      }
    },
  },
  {
    name: 'sees', needs: 'unifiedPlan',
    async run({ ann, ben }) {
      await ben.person.run((shown) => window.person.camera(shown), colours.ben);
      await watches(ann.person, ben.id, colours.ben);
      await ben.person.run(() => window.person.cameraOff());
      await ann.person.sees({});
    },
  },
  {
    name: 'shares', since: '1.2.0', needs: 'films',
    async run({ ann, ben }) {
      await ann.person.run((shown) => window.person.share(shown), colours.cat);
      await ann.person.until('contentShareDidStart', () => window.person.count('shareStart') > 0);
      await present(ben.person, `${ann.id}#content`, true);
      await watches(ben.person, `${ann.id}#content`, colours.cat);
      await ann.person.run(() => window.person.stopShare());
      await present(ben.person, `${ann.id}#content`, false);
    },
  },
  {
    name: 'sees shares', needs: 'unifiedPlan',
    async run({ ann, ben }) {
      await ben.person.run((shown) => window.person.share(shown), colours.cat);
      await present(ann.person, `${ben.id}#content`, true);
      await watches(ann.person, `${ben.id}#content`, colours.cat);
      await ben.person.run(() => window.person.stopShare());
      await present(ann.person, `${ben.id}#content`, false);
    },
  },
  {
    name: 'messages', since: '1.6.0',
    async run({ ann, ben }) {
      await say(ann.person, 'from the version');
      await reads(ben.person, 'from the version', ann.id);
      await say(ben.person, 'from the newest');
      await reads(ann.person, 'from the newest', ben.id);
    },
  },
  {
    name: 'sees leaves',
    async run({ on, meeting, ann, ben }) {
      await ben.person.run(() => window.person.leave());
      await present(ann.person, ben.id, false);
      ben.person = await on.browser.join(meeting, ben.attendee, { tone: tones.ben });
      await present(ann.person, ben.id, true);
      await ann.person.hears([tones.ben], everyTone);
    },
  },
  {
    name: 'stays',
    async run({ ann }) {
      const log = await ann.person.run(() => window.person.log.filter((entry) => ['connecting', 'stop'].includes(entry.name)).map((entry) => entry.name));
      if (String(log) !== 'connecting') throw new Error(`it connected again: ${log}`);
    },
  },
  {
    name: 'leaves',
    async run({ ann, ben, version }) {
      await present(ben.person, ann.id, true);
      await ann.person.run(() => window.person.leave());
      await present(ben.person, ann.id, false);
      if (await ben.person.run((id) => window.person.dropped[id], ann.id)) throw new Error('the leave was told as a drop');
      await ann.person.until('audioVideoDidStop', () => window.person.count('stop') > 0);
      const [status] = await ann.person.run(() => window.person.last('stop').detail);
      // The first published version calls it OK.
      if (status !== (isBefore(version, '1.2.0') ? 'OK' : 'Left')) throw new Error(`it stopped with ${status}`);
    },
  },
];

/** Whether version a is older than b. */
export function isBefore(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  const at = left.findIndex((part, i) => part !== right[i]);
  return at >= 0 && left[at] < right[at];
}

/**
 * Takes a version, whose package is at the path client, one way through all of it; on
 * is a stage. Tells for each feature by name: 'yes', 'no' when the version has not got it,
 * or an Error. Who does not get in leaves nothing else to try.
 */
export async function scenario(on, way, client) {
  const meeting = await on.server.meeting();
  const [ann, ben] = await Promise.all(['ann', 'ben'].map(async (name) => {
    const attendee = await on.server.attendee(meeting, name);
    return { attendee, id: attendee.AttendeeId };
  }));
  const stand = { on, meeting, ann, ben, client, ...way };
  const results = {};
  for (const { name, since, needs, run } of features) {
    if ((since && isBefore(way.version, since)) || (needs && !way[needs])) {
      results[name] = 'no';
      continue;
    }
    if (results.joins instanceof Error) {
      results[name] = new Error('not reached');
      continue;
    }
    try {
      await deadline(run(stand), 2 * patience);
      results[name] = 'yes';
    } catch (error) {
      results[name] = error;
      // So that the next step begins as it would have.
      for (const { person } of [ann, ben]) await deadline(person?.run(() => { window.person.stopShare(); return window.person.cameraOff(); }), patience).catch(() => {});
    }
  }
  return results;
}

function deadline(work, milliseconds) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${milliseconds} ms`)), milliseconds); });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
