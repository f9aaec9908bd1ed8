// Many people without a browser each, by the program in ../crowd.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

export class Crowd {
  /** Attendees of a meeting come in, all of them. So many have cameras, and for each of the tones one says it without end. */
  static async join(meeting, attendees, { seed = 1, cameras = 0, tones = [] } = {}) {
    const crowd = new Crowd();
    crowd.dir = await mkdtemp(path.join(tmpdir(), 'belfry-crowd-'));
    const program = path.join(crowd.dir, 'crowd');
    await promisify(execFile)('go', ['build', '-o', program, './test/browser/crowd'], { cwd: root, env: { GOTOOLCHAIN: 'local', ...process.env } });
    crowd.process = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    crowd.exited = once(crowd.process, 'exit');
    crowd.lines = createInterface(crowd.process.stdout)[Symbol.asyncIterator]();
    const url = meeting.MediaPlacement.SignalingUrl;
    await crowd.ask({ seed, cameras, tones, people: attendees.map((attendee) => ({ url, token: attendee.JoinToken, id: attendee.AttendeeId })) });
    return crowd;
  }

  /** So many times somebody comes, goes, vanishes or mutes; tells how everybody should see it then. */
  churn(steps) { return this.ask({ steps }); }

  async ask(what) {
    this.process.stdin.write(`${JSON.stringify(what)}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the crowd has gone');
    return JSON.parse(value);
  }

  async end() {
    this.process.stdin.end();
    await this.exited;
    await rm(this.dir, { recursive: true, force: true });
  }
}
