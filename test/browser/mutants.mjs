// Shows that the browser tests can fail: breaks one thing in a copy of the last
// commit, builds it, and expects the test that watches over it to turn red.
//   node mutants.mjs [WORD]     only those whose name has the word
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

// [what is broken, file, text, what stands there instead, test file, test]
const mutants = [
  ['everybody hears itself', 'internal/media/peer.go', 'return []string{p.base, p.base + meeting.ContentSuffix}', 'return nil', 'audio', 'each of three hears both'],
  ['only one voice is mixed', 'internal/media/bridge.go', 'mixer.Config{', 'mixer.Config{MaxTalkers: 1, ', 'audio', 'each of three hears both'],
  ['only who came first is heard', 'internal/media/peer.go', 'if len(b.audio) > 0 && p.source != nil {', 'if len(b.audio) > 0 && p.source != nil && p == b.peers[0] {', 'audio', 'one talker is heard by all'],
  ['silence is not sent', 'internal/media/mixer/listener.go', 'for n := 0; n < 2 &&', 'for n := 0; n < 0 &&', 'audio', 'silence is sent as packets'],
  ['mute does not show', 'internal/signaling/roster.go', 'return p.muted || !caps.Audio.CanSend()', 'return !caps.Audio.CanSend()', 'audio', 'mute after joining'],
  ['who joins muted is shown talking', 'internal/signaling/roster.go', 'return p.muted || !caps.Audio.CanSend()', 'return !caps.Audio.CanSend()', 'audio', 'who joins muted'],
  ['mute is left to the client', 'internal/media/mixer/source.go', 's.cfg.Muted = muted', '_ = muted', 'audio', 'keeps sending sound'],
  ['names are missing in the roster', 'internal/signaling/roster.go', 'ExternalUserId: proto.String(p.attendee.ExternalUserID)', 'ExternalUserId: proto.String("")', 'roster', 'join and leave reach everybody'],
  ['a drop looks like a leave', 'internal/signaling/roster.go', 'if dropped {', 'if dropped && false {', 'roster', 'who vanishes'],
  ['levels are not told', 'internal/media/bridge.go', 'talking, due := b.mixer.Levels(at); due', 'talking, due := b.mixer.Levels(at); due && false', 'roster', 'volume, active speaker'],
  ['newcomers get no roster', 'internal/signaling/roster.go', 'if p.shownID() != 0 {\n\t\t\tentries', 'if false {\n\t\t\tentries', 'roster', 'a newcomer gets'],
  ['every tile shows the first camera', 'internal/media/negotiate.go', 'NACK: nack, StreamID: wanted, Paused', 'NACK: nack, StreamID: p.bridge.router.Sources()[0].StreamID, Paused', 'video', 'several cameras'],
  ['key frames are never asked for', 'internal/media/sfu/layer.go', 'l.pub.cfg.Up.SendRTCP(r.rtcp)', '', 'video', 'several cameras'],
  ['a key frame is asked for again and again', 'internal/media/sfu/layer.go', 'k.wanted, k.tries = false, 0', 'k.tries = 0', 'video', 'key frames come on request'],
  ['VP8 is not taken', 'internal/media/negotiate.go', '{meeting.CodecVP8, meeting.CodecH264CBP}', '{meeting.CodecH264CBP}', 'video', 'vp8 is sent'],
  ['H.264 is not taken', 'internal/media/negotiate.go', '{meeting.CodecVP8, meeting.CodecH264CBP}', '{meeting.CodecVP8}', 'video', 'h264 is sent'],
  ['a camera that stops stays listed', 'internal/signaling/index.go', 'r.index.sources, r.index.codecs = sources, codecs', 'if len(sources) > 0 {\n\t\tr.index.sources = sources\n\t}\n\tr.index.codecs = codecs', 'video', 'stop takes the tile away'],
  ['pause does nothing', 'internal/media/peer.go', 'r.paused = paused\n', '', 'video', 'pause stops the frames'],
  ['layers are not taken', 'internal/media/negotiate.go', 'a.RIDs = s.RIDs[:len(cfg.Layers)]', 'a.RIDs = nil', 'simulcast', 'three people see each other'],
  ['what a newcomer cannot decode is not told', 'internal/media/bridge.go', 'n > 0 && n == b.said', 'n > 0', 'video', 'a camera changes its codec'],
  ['candidates stand with audio alone', 'internal/media/sdp/answer.go', 'port, family, host :=', 'if s.Kind != "audio" {\n\t\tcandidates = nil\n\t}\n\tport, family, host :=', 'video', 'a session of video alone'],
  ['a share outlives the stay of its owner', 'internal/signaling/room.go', 'if !same && !p.content &&', 'if false &&', 'content', 'a share ends when its owner joins elsewhere'],
  ['a share is not in the roster', 'internal/signaling/roster.go', 'func (r *room) present(p *participant) {\n', 'func (r *room) present(p *participant) {\n\tif p.content {\n\t\treturn\n\t}\n', 'content', 'content share is an attendee'],
  ['messages come back', 'internal/signaling/datamessage.go', 'if p.sess == nil || p.content || p.base == from.base {', 'if p.sess == nil || p.content {', 'messages', 'a message reaches all others'],
  ['messages are not replayed', 'internal/signaling/datamessage.go', 'for _, k := range r.messages.kept {\n\t\tsender', 'for _, k := range r.messages.kept[:0] {\n\t\tsender', 'messages', 'a message with a lifetime'],
  ['messages live for ever', 'internal/signaling/datamessage.go', 'now.Add(time.Duration(m.GetLifetimeMs())*time.Millisecond)', 'now.Add(time.Hour)', 'messages', 'a message with a lifetime'],
  ['throttled messages are lost', 'internal/signaling/datamessage.go', 'if len(throttled) > 0 {', 'if false {', 'messages', 'too many messages'],
  ['who may not speak is heard', 'internal/media/peer.go', 'p.source.SetBarred(!p.mayTalk())', '_ = p.mayTalk()', 'capabilities', 'who may not speak'],
  ['who may not listen hears', 'internal/media/peer.go', 'p.listener.SetDeaf(!p.mayHear())', '_ = p.mayHear()', 'capabilities', 'who may not listen'],
  ['who may not show is not told', 'internal/signaling/room.go', 'if !p.content && before.Video.CanSend() &&', 'if false &&', 'capabilities', 'a camera goes'],
  ['who may not see is offered all', 'internal/signaling/index.go', 'caps.Video.CanReceive(), caps.Content.CanReceive()', 'true, true', 'capabilities', 'who may not see'],
  ['a share outlives the right to it', 'internal/signaling/room.go', 'if p.content && !now.Content.CanSend() {', 'if false {', 'capabilities', 'a share ends when it may not be'],
  ['nobody is spared', 'internal/meeting/capabilities.go', 'if !slices.Contains(spared, a.ID) {', 'if !slices.Contains(spared, a.ID) || true {', 'capabilities', 'all but one'],
  ['who watches is in the roster', 'internal/signaling/roster.go', 'if !p.hidden() {\n\t\tr.enterRoster(p)', 'if true {\n\t\tr.enterRoster(p)', 'replicas', 'who watches hears'],
  ['who watches is heard', 'internal/signaling/audience.go', 'return p.attendee.Capabilities.ReceiveOnly()', 'return p.attendee.Capabilities', 'replicas', 'who watches hears'],
  ['who watches may send messages', 'internal/signaling/datamessage.go', '}, !p.hidden()', '}, true', 'replicas', 'who watches hears'],
  ['who watches is told no messages', 'internal/signaling/datamessage.go', 'for p := range r.everybody() {', 'for _, p := range r.members {', 'replicas', 'who watches hears'],
  ['who watches is told no roster', 'internal/signaling/roster.go', 'for p := range r.everybody() {', 'for _, p := range r.members {', 'replicas', 'who watches hears'],
  ['who watches is told no videos', 'internal/signaling/index.go', 'for p := range r.everybody() {', 'for _, p := range r.members {', 'replicas', 'who watches hears'],
  ['who is promoted is not heard', 'internal/signaling/audience.go', '\tr.become(p)\n\tif p.informed {', '\tif p.informed {', 'replicas', 'who is promoted takes part'],
  ['who is promoted is heard under its own name', 'internal/media/peer.go', 'p.source.SetID(p.id)', '_ = p.source', 'replicas', 'who is promoted takes part'],
  ['who is promoted is offered its own camera', 'internal/signaling/index.go', 'view.except = p.base', 'view.except = p.ownID', 'replicas', 'who is promoted takes part'],
  ['who steps down goes on', 'internal/signaling/audience.go', '\tr.become(p)\n\tif showed', '\tif showed', 'replicas', 'who is promoted takes part'],
  ['who steps down is not told to stop its camera', 'internal/signaling/audience.go', 'if showed && p.sess != nil {', 'if showed && p.sess == nil {', 'replicas', 'who is promoted takes part'],
  ['who is demoted is not told', 'internal/signaling/audience.go', '\tr.stepDown(p, false)\n\tif p.sess != nil {', '\tr.stepDown(p, false)\n\tif p.sess == nil {', 'replicas', 'the deletion of its attendee'],
  ['credentials of any meeting promote', 'internal/signaling/audience.go', 'case id.Meeting.ID != s.member.room.meeting.ID:', 'case id.Meeting == nil:', 'replicas', 'wrong credentials'],
  ['credentials need not be of one attendee', 'internal/signaling/audience.go', 'case attendeeID != "" && !strings', 'case attendeeID == "" && !strings', 'replicas', 'wrong credentials'],
  ['one attendee is many connections', 'internal/signaling/audience.go', 'if old == nil || old == p {', 'if true {', 'replicas', 'one connection at a time'],
  ['anybody who watches shares', 'internal/signaling/audience.go', 'if base == nil || !maySend(r.meeting, base.rights(), true) {', 'if base == nil {', 'replicas', 'who is promoted shares'],
  ['the end of a replica ends its primary', 'internal/signaling/server.go', 'sess.end(statusEnded, closeEnded, "meeting ended")\n\t}\n', 'sess.end(statusEnded, closeEnded, "meeting ended")\n\t}\n\tif r != nil && r.meeting.ID != meetingID {\n\t\ts.MeetingEnded(r.meeting.ID)\n\t}\n', 'replicas', 'the end of a replica'],
  ['a removed attendee is told nothing', 'internal/signaling/server.go', 'sess.end(statusRemoved, closeRefused, "attendee unavailable")', '_ = sess', 'ends', 'a deleted attendee'],
  ['a deleted meeting is told as a removal', 'internal/signaling/server.go', 'sess.end(statusEnded, closeEnded, "meeting ended")', 'sess.end(statusRemoved, closeRefused, "meeting ended")', 'ends', 'a deleted meeting'],
  ['a second device is told as a removal', 'internal/signaling/room.go', 'old.sess.end(statusElsewhere', 'old.sess.end(statusRemoved', 'ends', 'who joins elsewhere'],
  ['a lost socket is a leave', 'internal/signaling/room.go', 'if p.shownID() == 0 && !p.counted && p.peer == nil {', 'if true {', 'faults', 'a reset signaling socket'],
  ['pings are not answered', 'internal/signaling/frames.go', 'case signalpb.SdkSignalFrame_PING_PONG:', 'case signalpb.SdkSignalFrame_Type(9999):', 'stay', 'alone and in company'],
  ['no relay is handed out', 'internal/turn/credentials.go', 's.cfg.Mode == Always', 'false', 'turn', 'always: media goes through the relay over udp'],
  ['old clients get no relay', 'internal/turn/http.go', 'remoteAddr(r), true)', 'remoteAddr(r), false)', 'versions', 'version 1.1.0'],
  ['every answer is compressed', 'internal/signaling/subscribe.go', 'if s.deflated {', 'if true {', 'versions', 'version 1.22.0'],
  ['a relay is always handed out', 'internal/turn/credentials.go', '(s.cfg.Mode == Auto && needed)', 's.cfg.Mode == Auto', 'turn', 'by default on loopback'],
  ['a stopping server says goodbye for good', 'internal/signaling/signaling.go', 'closeRestarting  = 4503', 'closeRestarting  = 4410', 'restart', 'ended by Ctrl-C'],
  ['going back is forgotten while joining', 'web/src/main.js', 'else if (abandon) abandon();', '', 'page', 'going back while joining'],
  ['a failed attempt takes the camera', 'web/src/session.js', 'if (this.cameraOn && !this.av.hasStartedLocalVideoTile()) this.av.startLocalVideoTile();', '', 'page', 'who needs the relay'],
  ['a relay is never handed out when needed', 'internal/turn/credentials.go', '(s.cfg.Mode == Auto && needed)', 'false', 'page', 'who needs the relay'],
];

const word = process.argv[2] ?? '';
const tree = mkdtempSync(path.join(tmpdir(), 'belfry-mutants-'));
const git = (...args) => execFileSync('git', args, { cwd: here, stdio: ['ignore', 'ignore', 'inherit'] });
git('worktree', 'add', '--detach', tree);
symlinkSync(path.join(here, '../../web/node_modules'), path.join(tree, 'web/node_modules'));
let survivors = 0;
try {
  for (const [name, file, text, instead, tests, test] of mutants) {
    if (!name.includes(word) && !tests.includes(word)) continue;
    const target = path.join(tree, file);
    const original = readFileSync(target, 'utf8');
    if (!original.includes(text)) throw new Error(`${file} has no ${JSON.stringify(text)} to break`);
    writeFileSync(target, original.replace(text, () => instead));
    if (tests === 'page') execFileSync('node', ['build.mjs'], { cwd: path.join(tree, 'web'), stdio: 'ignore' });
    const binary = path.join(tree, 'mutant');
    const build = spawnSync('go', ['build', '-o', binary, './cmd/belfry'], { cwd: tree, encoding: 'utf8' });
    if (build.status !== 0) throw new Error(`${name}: the broken program does not build:\n${build.stderr}`);
    const escaped = test.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const run = spawnSync('node', ['--test', `--test-name-pattern=${escaped}`, '--test-timeout=1800000', `tests/${tests}.test.mjs`],
      { cwd: here, encoding: 'utf8', env: { ...process.env, BELFRY_BINARY: binary } });
    const ran = /^not ok \d+ - (?!.*# SKIP)/m.test(run.stdout) || /^ok \d+ - (?!.*# SKIP)/m.test(run.stdout);
    const red = run.status !== 0 && ran;
    if (!red) survivors++;
    console.log(`${red ? 'red ' : 'GREEN'}  ${name} — ${tests}: ${test}`);
    writeFileSync(target, original);
  }
} finally {
  git('worktree', 'remove', '--force', tree);
  rmSync(tree, { recursive: true, force: true });
}
process.exit(survivors > 0 ? 1 : 0);
