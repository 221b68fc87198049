// Open streams through the built module: their reports, the effects of events, and which client bytes are
// forwarded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

const FRAME = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
const PING = Buffer.from([0x89, 0x80, 0, 0, 0, 0]);

/** The payload of a client's close frame. */
function closing(bytes) {
  assert.equal(bytes[0], 0x88);
  assert.equal(bytes[1], 0x80 | (bytes.length - 6));
  const payload = bytes.subarray(6).map((byte, i) => byte ^ bytes[2 + (i % 4)]);
  return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
}

function createHost(config = {}) {
  const host = new Host();
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  return host;
}

let streams = 0;

function open(host, { session = 'ref-1', ...answer } = {}) {
  const request = host.request(head('upgrade'));
  const stream = `stream-${(streams += 1)}`;
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement', with: { session_ref: session, stream, ...answer } }));
  assert.equal(request.resumed, 1);
  return Object.assign(request, { stream });
}

/** Ticks until the gateway calls; returns the call with its parsed body. */
function nextCall(host, limit = 100) {
  for (let i = 0; i < limit && host.gatewayCalls.length === 0; i += 1) host.wait(host.tick);
  const call = host.gatewayCalls.shift();
  assert.ok(call, 'the gateway calls');
  return { ...call, report: JSON.parse(call.body) };
}

let cursors = 0;
const answerPoll = (host, call, events = [], extra = {}) =>
  host.answer(call, 200, JSON.stringify({ cursor: `log-${(cursors += 1)}`, events, ...extra }));

/** Answers the first poll; the second one stays in flight. */
function startPolling(host) {
  const first = nextCall(host);
  assert.deepEqual([first.report.cursor, first.report.poll_timeout_ms], ['now', 0]);
  answerPoll(host, first);
  const heldPoll = nextCall(host);
  assert.deepEqual([heldPoll.report.cursor, heldPoll.report.poll_timeout_ms, heldPoll.timeout], [`log-${cursors}`, 5_000, 7_000]);
  return heldPoll;
}

const sessionEnded = (session_ref, reason) => ({ type: 'session-ended', session_ref, reason });

test('an idle gateway makes no calls', () => {
  const host = createHost();
  for (let i = 0; i < 100; i += 1) host.wait(host.tick);
  assert.equal(host.gatewayCalls.length, 0);
  assert.equal(host.tick, 1_000);
});

test('streams are reported as they open and close', () => {
  const host = createHost({ service: { cluster: 'svc', secret: 'gateway-secret' } });
  const first = open(host);
  const second = open(host, { session: 'ref-2', engine: 'engine-9' });
  const poll = startPolling(host);
  assert.match(poll.headers[':path'], /^\/v1\/gateways\/[0-9a-f]{32}\/events$/);
  assert.deepEqual([poll.cluster, poll.headers.authorization], ['svc', 'Bearer gateway-secret']);
  const opened = nextCall(host);
  assert.equal(opened.headers[':path'], poll.headers[':path']);
  assert.deepEqual(opened.report.opened, [
    { stream: first.stream, session_ref: 'ref-1', pool: 'qix', engine: 'engine-0', opened_at: 1_000 },
    { stream: second.stream, session_ref: 'ref-2', pool: 'qix', engine: 'engine-9', opened_at: 1_000 },
  ]);
  assert.equal(opened.report.sequence, 3);
  host.answer(opened, 200, '{}');
  assert.equal(host.tick, 1_000);

  host.chunk(first, FRAME);
  first.numbers = { 'response.code': 101, 'response.size': 42 };
  second.numbers = { 'response.code': 503, 'response.size': 7 };
  host.wait(400);
  host.done(first);
  host.done(second);
  const { report } = nextCall(host);
  assert.deepEqual(report.closed.map(({ duration_ms: _, ...rest }) => rest), [
    { stream: first.stream, reason: 'ended', bytes_received: 7, bytes_sent: 42 },
    { stream: second.stream, reason: 'refused', bytes_received: 0, bytes_sent: 7 },
  ]);
  assert.ok(report.closed.every(({ duration_ms }) => duration_ms >= 400));
  assert.deepEqual([report.sequence, report.opened], [4, undefined]);
  assert.equal(host.metrics.get('berth_streams_opened.pool=qix'), 2);
  assert.equal(host.metrics.get('berth_streams_closed.reason=ended'), 1);
  assert.equal(host.metrics.get('berth_streams_closed.reason=refused'), 1);
});

test('an active client gets a close code, its later bytes are dropped, and it is reset', () => {
  for (const [reason, code] of [['revoked', 4403], ['expired', 4401]]) {
    const host = createHost();
    const closingSocket = open(host);
    const other = open(host, { session: 'ref-2' });
    const poll = startPolling(host);
    assert.deepEqual(host.chunk(closingSocket, FRAME), FRAME);
    answerPoll(host, poll, [sessionEnded('ref-1', reason)]);
    assert.equal(host.tick, 50);
    assert.equal(closing(host.chunk(closingSocket, FRAME)).code, code);
    assert.equal(host.chunk(closingSocket, FRAME).length, 0);
    host.wait(50);
    assert.equal(closingSocket.reset, 0);
    host.wait(500);
    assert.deepEqual([closingSocket.reset, other.reset], [1, 0]);
    host.wait(50);
    assert.equal(closingSocket.reset, 1);
    assert.deepEqual(host.chunk(other, FRAME), FRAME);
    host.done(closingSocket);
    assert.equal(host.metrics.get(`berth_streams_closed.reason=${reason}`), 1);
  }
});

test('a close frame does not split the current frame', () => {
  const host = createHost();
  const midFrame = open(host);
  const betweenFrames = open(host);
  const splitFrame = open(host);
  const poll = startPolling(host);
  host.chunk(midFrame, FRAME.subarray(0, 3));
  host.chunk(splitFrame, FRAME.subarray(0, 6));
  answerPoll(host, poll, [sessionEnded('ref-1', 'revoked')]);
  // The rest of one frame, and a second one that is dropped.
  const lastBytes = host.chunk(midFrame, Buffer.concat([FRAME.subarray(3), FRAME]));
  assert.deepEqual(lastBytes.subarray(0, 4), FRAME.subarray(3));
  assert.equal(closing(lastBytes.subarray(4)).code, 4403);
  const appended = host.chunk(splitFrame, FRAME.subarray(6));
  assert.deepEqual(appended.subarray(0, 1), FRAME.subarray(6));
  assert.equal(closing(appended.subarray(1)).code, 4403);
  assert.equal(closing(host.chunk(betweenFrames, PING)).reason, 'revoked');
});

test('silent clients are reset at once, many of them in batches', () => {
  const host = createHost();
  const sockets = Array.from({ length: 250 }, () => open(host));
  const poll = startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  host.wait(6_000);
  answerPoll(host, poll, [sessionEnded('ref-1', 'revoked')]);
  const resetCounts = [0, 1, 2, 3, 4].map(() => {
    host.wait(host.tick);
    return sockets.filter(({ reset }) => reset === 1).length;
  });
  // A tick with calls stands between two ticks with resets, and comes at once.
  assert.deepEqual(resetCounts, [100, 100, 200, 200, 250]);
  assert.equal(host.tick, 5);
});

test('a stream whose bytes cannot be dropped is reset', () => {
  const host = createHost();
  const socket = open(host);
  answerPoll(host, startPolling(host), [sessionEnded('ref-1', 'revoked')]);
  host.fail = { proxy_set_buffer_bytes: 10 };
  assert.equal(host.chunk(socket, FRAME), undefined);
  host.fail = {};
  assert.equal(host.chunk(socket, FRAME), undefined, 'nothing is forwarded until the reset');
  host.wait(host.tick);
  assert.equal(socket.reset, 1);
});

test('a session that ended while its response was in flight opens no stream', () => {
  const host = createHost();
  open(host, { session: 'ref-2' });
  const poll = startPolling(host);
  const lateRequest = host.request(head('upgrade'));
  answerPoll(host, poll, [sessionEnded('ref-1', 'revoked')]);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(lateRequest.resumed, 0);
  assert.equal(lateRequest.replies[0].status, 401);
  assert.equal(JSON.parse(lateRequest.replies[0].body).reason, 'session-expired');
  const api = host.request(head('api'));
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'token' }));
  assert.equal(api.replies[0].status, 440);
});

test('a lost report is followed by the list of all streams', () => {
  const host = createHost();
  const [first, second] = [open(host), open(host)];
  startPolling(host);
  for (const [status, body] of [[503, ''], [200, 'junk'], [undefined, '']]) {
    const { report, ...call } = nextCall(host);
    assert.equal(report.opened.length, 2);
    host.answer(call, status, body);
  }
  const repeated = nextCall(host);
  assert.equal(repeated.report.full, 'whole');
  assert.deepEqual(repeated.report.opened.map(({ stream }) => stream).sort(), [first.stream, second.stream].sort());
  host.done(first);
  host.answer(repeated, 503);
  const last = nextCall(host);
  assert.deepEqual([last.report.opened.length, last.report.closed.length], [1, 1]);
  assert.equal(host.metrics.get('berth_event_poll_failures'), 4);
  assert.equal(host.logs.filter(({ level }) => level === 3).length, 1, 'one warning per outage');
});

test('a long list is sent in parts', () => {
  const host = createHost();
  const poll = startPolling((open(host), host));
  host.answer(nextCall(host), 200, '{}');
  for (let i = 0; i < 1_200; i += 1) open(host);
  host.answer(nextCall(host), 200, '{"resync":true}');
  const parts = [];
  const names = new Set();
  while (parts.length < 3) {
    const { report, ...call } = nextCall(host);
    parts.push([report.full, report.opened.length]);
    for (const { stream } of report.opened) names.add(stream);
    host.answer(call, 200, '{}');
  }
  assert.deepEqual(parts, [['first', 500], ['middle', 500], ['last', 201]]);
  assert.equal(names.size, 1_201);
  answerPoll(host, poll);
});

test('an outage of the service keeps the sockets, and polls back off', () => {
  const host = createHost();
  const socket = open(host);
  let poll = startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  let attempts = 0;
  for (let ms = 0; ms < 60_000; ms += 50) {
    if (poll) host.answer(poll, 503, 'upstream connect error');
    attempts += poll ? 1 : 0;
    host.wait(50);
    poll = host.gatewayCalls.pop();
  }
  // One or two seconds between two attempts.
  assert.ok(attempts > 25 && attempts < 60, `${attempts} tries in a minute`);
  assert.deepEqual([socket.reset, host.chunk(socket, FRAME)], [0, FRAME]);
  host.clusters.clear();
  const before = host.counts.proxy_http_call;
  for (let i = 0; i < 600; i += 1) host.wait(50);
  // Polls, and reports of the client's activity.
  assert.ok(host.counts.proxy_http_call - before < 50);
});

test('data frames are activity, pings are not', () => {
  const host = createHost();
  const [first, second] = [open(host), open(host, { session: 'ref-2' })];
  startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  for (let i = 0; i < 3; i += 1) {
    host.chunk(first, FRAME);
    host.chunk(second, PING);
  }
  const { report, ...call } = nextCall(host);
  assert.deepEqual(report.active, ['ref-1']);
  host.answer(call, 200, '{}');
  host.chunk(second, PING);
  host.wait(2_000);
  assert.equal(host.gatewayCalls.length, 0);
});

test('a socket closes at its maximum age, and when its session ends by event or by time', () => {
  const routes = [{ prefix: '/app/', action: 'place', max_age: '1m', max_age_jitter: 0 }];
  const host = createHost({ routes });
  const longLived = open(host);
  const shortLived = open(host, { session_expires_at: 1_030 });
  const advanceTo = (ms) => {
    while (host.now < 1_000_000 + ms) host.wait(host.tick);
  };
  advanceTo(29_000);
  assert.equal(shortLived.reset, 0);
  advanceTo(31_500);
  assert.equal(shortLived.reset, 1);
  host.done(shortLived);
  assert.equal(host.metrics.get('berth_streams_closed.reason=expired'), 1);
  advanceTo(52_000);
  assert.equal(host.metrics.get('berth_stream_age_warnings'), 1);
  advanceTo(58_000);
  host.chunk(longLived, FRAME);
  advanceTo(60_000);
  assert.equal(closing(host.chunk(longLived, FRAME)).code, 4408);
  advanceTo(61_500);
  assert.equal(longLived.reset, 1);
});

test('the streams of a drained engine close evenly', () => {
  const host = createHost();
  const sockets = Array.from({ length: 100 }, () => open(host));
  const socketOfOtherEngine = open(host, { engine: 'engine-1' });
  const poll = startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  host.wait(10_000);
  answerPoll(host, poll, [{ type: 'engine-drained', pool: 'qix', engine: 'engine-0', over_ms: 20_000 }, { type: 'news' }]);
  const resetCounts = [];
  for (let ms = 0; ms < 24_000; ms += 50) {
    host.wait(50);
    if (ms % 2_000 === 0) resetCounts.push(sockets.filter(({ reset }) => reset).length);
  }
  assert.equal(resetCounts.at(-1), 100);
  for (let i = 1; i < 10; i += 1) assert.ok(resetCounts[i] - resetCounts[i - 1] <= 15, `${resetCounts}`);
  assert.equal(socketOfOtherEngine.reset, 0);
});

test('streams of an ended session are reset before those of a drained engine', () => {
  const host = createHost();
  for (let i = 0; i < 600; i += 1) open(host);
  const socket = open(host, { session: 'ref-2', engine: 'engine-1' });
  const poll = startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  host.wait(6_000);
  answerPoll(host, poll, [{ type: 'engine-drained', pool: 'qix', engine: 'engine-0', over_ms: 0 }]);
  // Some of them are reset, and reported, before the next poll.
  let heldPoll = nextCall(host);
  for (; heldPoll.report.poll_timeout_ms !== 5_000; heldPoll = nextCall(host)) host.answer(heldPoll, 200, '{}');
  answerPoll(host, heldPoll, [sessionEnded('ref-2', 'revoked')]);
  host.wait(host.tick);
  assert.equal(socket.reset, 1);
});

test('a session that ended for an unknown reason has ended', () => {
  const host = createHost();
  const socket = open(host);
  answerPoll(host, startPolling(host), [sessionEnded('ref-1', 'bored')]);
  assert.equal(closing(host.chunk(socket, FRAME)).code, 4403);
});

test('a clock that moves back blocks neither reports nor activity', () => {
  const host = createHost();
  host.now += 3_600_000;
  host.wait(1_000);
  const socket = open(host);
  host.chunk(socket, FRAME);
  startPolling(host);
  host.answer(nextCall(host), 200, '{}');
  host.wait(1_000);
  host.gatewayCalls.length = 0;
  host.now -= 3_600_000;
  host.wait(50);
  host.chunk(socket, FRAME);
  const active = () => host.gatewayCalls.some(({ body }) => JSON.parse(body).active?.includes('ref-1'));
  for (let i = 0; i < 100 && !active(); i += 1) host.wait(50);
  assert.ok(active());
  assert.ok(host.gatewayCalls.some(({ body }) => JSON.parse(body).cursor), 'it polls');
});

test('20,000 streams leave no state', () => {
  const host = createHost();
  const runRounds = (n) => {
    for (let i = 0; i < n; i += 1) {
      const socket = open(host, { session: `ref-${i}` });
      host.chunk(socket, FRAME);
      host.done(socket);
      if (i % 20 === 0) host.wait(1_000);
      host.gatewayCalls.splice(0).forEach((call) => answerPoll(host, call));
    }
  };
  runRounds(4_000);
  const before = host.memory;
  runRounds(16_000);
  assert.ok(host.memory - before <= 4 * 65_536, `${before} -> ${host.memory}`);
});
