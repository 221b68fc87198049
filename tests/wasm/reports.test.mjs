// The reports and polls of a gateway through the built module: what it reports, and how it retries.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerPoll, createHost, FRAME, nextCall, open, PING, startPolling } from './gateway.mjs';

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
