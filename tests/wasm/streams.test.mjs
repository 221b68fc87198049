// Open streams through the built module: when they close, and which client bytes are forwarded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerPoll, closing, createHost, FRAME, nextCall, open, PING, sessionEnded, startPolling } from './gateway.mjs';
import { head, serviceBody } from './fixture.mjs';

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
