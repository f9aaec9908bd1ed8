// Starts the real program on free ports with a data directory of its own, and
// speaks to it with AWS's client.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  ChimeSDKMeetingsClient, BatchCreateAttendeeCommand, BatchUpdateAttendeeCapabilitiesExceptCommand, CreateMeetingCommand, CreateAttendeeCommand, DeleteMeetingCommand, DeleteAttendeeCommand,
  UpdateAttendeeCapabilitiesCommand,
} from '@aws-sdk/client-chime-sdk-meetings';
import { randomUUID } from 'node:crypto';
import { patience } from './patience.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const binary = process.env.BELFRY_BINARY ?? path.join(root, 'bin/belfry');

/** A loopback address of this process alone: a port of it that was let go, nobody takes meanwhile. */
export const ownHost = `127.${64 + (process.pid >> 16)}.${(process.pid >> 8) & 255}.${process.pid & 255}`;

const everything = { Audio: 'SendReceive', Video: 'SendReceive', Content: 'SendReceive' };

export class Server {
  /** env adds settings; dataDir keeps state over a restart; port 0 takes free ones. */
  static async start({ env = {}, dataDir, listen = '127.0.0.1:0' } = {}) {
    const server = new Server();
    server.ownDir = dataDir === undefined;
    server.dataDir = dataDir ?? await mkdtemp(path.join(tmpdir(), 'belfry-test-'));
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BELFRY_')));
    server.process = spawn(binary, ['serve'], {
      env: {
        ...inherited, BELFRY_LISTEN: listen, BELFRY_DATA_DIR: server.dataDir, BELFRY_TURN_LISTEN: '127.0.0.1:0',
        BELFRY_ACCESS_KEY_ID: 'AKIDTEST', BELFRY_SECRET_ACCESS_KEY: 'test-secret',
        BELFRY_REQUEST_RATE: '0', BELFRY_SHEDDING: 'off', ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    server.stdout = server.stderr = '';
    server.process.stdout.on('data', (chunk) => { server.stdout += chunk; });
    server.process.stderr.on('data', (chunk) => { server.stderr += chunk; });
    server.exited = once(server.process, 'exit');
    server.url = await server.endpoint();
    server.client = new ChimeSDKMeetingsClient({
      endpoint: server.url, region: 'us-east-1', credentials: { accessKeyId: 'AKIDTEST', secretAccessKey: 'test-secret' },
    });
    return server;
  }

  async endpoint() {
    const deadline = Date.now() + patience;
    while (Date.now() < deadline) {
      const match = this.stdout.match(/Endpoint\s+(\S+)/);
      if (match) return match[1];
      if (this.process.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`the server did not start:\n${this.stdout}\n${this.stderr}`);
  }

  async meeting(options = {}) {
    const { Meeting } = await this.client.send(new CreateMeetingCommand({
      ClientRequestToken: randomUUID(), ExternalMeetingId: 'browser-test', MediaRegion: 'us-east-1', ...options,
    }));
    return Meeting;
  }

  async attendee(meeting, user) {
    const { Attendee } = await this.client.send(new CreateAttendeeCommand({ MeetingId: meeting.MeetingId, ExternalUserId: user }));
    return Attendee;
  }

  /** So many attendees at once. */
  async attendees(meeting, count) {
    const users = Array.from({ length: count }, (_, i) => ({ ExternalUserId: `user-${i}` }));
    const made = [];
    while (users.length > 0) { // 100 are taken in one request
      const { Attendees } = await this.client.send(new BatchCreateAttendeeCommand({ MeetingId: meeting.MeetingId, Attendees: users.splice(0, 100) }));
      made.push(...Attendees);
    }
    return made;
  }

  deleteMeeting(meeting) { return this.client.send(new DeleteMeetingCommand({ MeetingId: meeting.MeetingId })); }

  deleteAttendee(meeting, attendee) {
    return this.client.send(new DeleteAttendeeCommand({ MeetingId: meeting.MeetingId, AttendeeId: attendee.AttendeeId }));
  }

  /** What an attendee may do from now on; what is left out is SendReceive. */
  allow(meeting, attendee, capabilities = {}) {
    return this.client.send(new UpdateAttendeeCapabilitiesCommand({
      MeetingId: meeting.MeetingId, AttendeeId: attendee.AttendeeId, Capabilities: { ...everything, ...capabilities },
    }));
  }

  /** allow for all but one. */
  allowAllBut(meeting, attendee, capabilities = {}) {
    return this.client.send(new BatchUpdateAttendeeCapabilitiesExceptCommand({
      MeetingId: meeting.MeetingId, ExcludedAttendeeIds: [{ AttendeeId: attendee.AttendeeId }], Capabilities: { ...everything, ...capabilities },
    }));
  }

  /** The value of one metric, its labels summed up unless they are named. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    let sum;
    for (const line of text.split('\n')) {
      if (line.startsWith(name) && /[ {]/.test(line[name.length] ?? '')) sum = (sum ?? 0) + Number(line.split(' ').pop());
    }
    return sum;
  }

  async stop(signal = 'SIGINT') {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
    await this.exited;
    this.client.destroy();
    if (this.ownDir) await rm(this.dataDir, { recursive: true, force: true });
  }
}
