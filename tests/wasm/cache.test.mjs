// Cached tokens and shared calls through the built module: which calls are made, and which requests get the response.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { fixture, head, serviceBody, table } from './fixture.mjs';

const PAUSE = 1;

function createHost(config = {}) {
  const host = new Host();
  host.now = Date.now();
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  return host;
}

const api = (host, cookie = 'abc', extra = {}) =>
  host.request(head('api', { set: { cookie: `__Host-berth=${cookie}`, ...extra } }));
const respondValid = (host, call, extra = {}) =>
  host.answer(call, 200, serviceBody({ answer: 'token', with: extra }));
const wasForwarded = (request) =>
  request.headers.some(([name, value]) => name === 'authorization' && String(value) === `Bearer ${fixture.tokens.hs}`);
const cacheCounts = (host) => {
  // Counters of requests are flushed at the next tick.
  host.wait(0);
  return ['hit', 'miss', 'coalesced'].map((result) => host.metrics.get(`berth_cache.result=${result}`) ?? 0);
};

/** Ticks until the gateway polls; answers with these events. */
function answerPoll(host, events = [], extra = {}) {
  for (let i = 0; i < 100 && host.gatewayCalls.length === 0; i += 1) host.wait(host.tick);
  const call = host.gatewayCalls.shift();
  assert.ok(call, 'the gateway polls');
  host.answer(call, 200, JSON.stringify({ cursor: `log-${host.now}`, events, ...extra }));
}

/** A host that has a cursor, with the token of one session in its cache. */
function createWarmHost(config) {
  const host = createHost(config);
  api(host);
  answerPoll(host);
  respondValid(host, host.calls.pop());
  api(host);
  respondValid(host, host.calls.pop());
  return host;
}

test('a cached token needs no call and is counted', () => {
  const host = createWarmHost();
  const request = api(host);
  assert.deepEqual([host.calls.length, request.resumed, request.action], [0, 0, 0]);
  assert.ok(wasForwarded(request));
  assert.ok(!request.headers.some(([name]) => name === 'cookie'));
  assert.equal(request.properties.berth, 'session=ref-1');
  assert.deepEqual(cacheCounts(host), [1, 2, 0]);
  assert.equal(host.histograms.get('berth_callout_duration_us').length, 2);
  // Another cookie means another session.
  assert.equal(api(host, 'abd').action, PAUSE);
});

test('cache hits are reported as activity', () => {
  const host = createWarmHost();
  api(host);
  const active = () => host.gatewayCalls.flatMap(({ body }) => JSON.parse(body).active ?? []);
  for (let i = 0; i < 200 && active().length === 0; i += 1) host.wait(host.tick);
  assert.deepEqual(active(), ['ref-1']);
});

test('a token is cached for at most 30 seconds', () => {
  const host = createWarmHost();
  for (let i = 0; i < 28; i += 1) {
    host.wait(1_000);
    while (host.gatewayCalls.length > 0) answerPoll(host);
  }
  assert.equal(api(host).action, 0);
  host.wait(1_000);
  assert.equal(api(host).action, PAUSE);
});

test('an ended session loses its token, and a gap in the events clears the cache', () => {
  const ended = [{ type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }];
  const other = [{ type: 'session-ended', session_ref: 'ref-2', reason: 'revoked' }];
  for (const [events, extra, action] of [[ended, {}, PAUSE], [[], { resync: true }, PAUSE], [other, {}, 0]]) {
    const host = createWarmHost();
    answerPoll(host, events, extra);
    assert.equal(api(host).action, action);
  }
});

test('a token that was requested before the first poll is not cached', () => {
  const host = createHost();
  api(host);
  const earlyCall = host.calls.pop();
  answerPoll(host);
  respondValid(host, earlyCall);
  assert.equal(api(host).action, PAUSE);
});

const requestWithBearer = (host) =>
  host.request(head('api', { set: { cookie: null }, add: [['authorization', `Bearer ${fixture.tokens.hs_sid}`]] }));

test("a token of a session is confirmed once, and ends with its session", () => {
  const host = createHost({ routes: [{ prefix: '/api/', action: 'authenticate', bearer: 'allow' }] });
  requestWithBearer(host);
  answerPoll(host);
  respondValid(host, host.calls.pop(), { token: fixture.tokens.hs_sid });
  const [first, second] = [requestWithBearer(host), requestWithBearer(host)];
  assert.equal(host.calls.length, 1);
  assert.deepEqual(JSON.parse(host.calls[0].body), { token: fixture.tokens.hs_sid });
  respondValid(host, host.calls.pop(), { token: fixture.tokens.hs_sid });
  const cached = requestWithBearer(host);
  assert.deepEqual([first.resumed, second.resumed, cached.action, host.calls.length], [1, 1, 0, 0]);
  const authorizations = cached.headers.filter(([name]) => name === 'authorization').map(([, value]) => String(value));
  assert.deepEqual(authorizations, [`Bearer ${fixture.tokens.hs_sid}`]);
  answerPoll(host, [{ type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }]);
  const lateRequest = requestWithBearer(host);
  assert.deepEqual([lateRequest.action, host.calls.length], [PAUSE, 1]);
  host.answer(host.calls.pop(), 401, JSON.stringify({ status: 401, title: 't', reason: 'bearer-invalid' }));
  assert.deepEqual([lateRequest.resumed, lateRequest.replies[0].status], [0, 401]);
});

test('after the clock moves back no cached token is used', () => {
  const host = createWarmHost();
  host.wait(1_000);
  host.now -= 3_600_000;
  host.wait(50);
  assert.equal(api(host).action, PAUSE);
  respondValid(host, host.calls.pop());
  host.gatewayCalls.length = 0;
  answerPoll(host);
  assert.equal(api(host).action, PAUSE, 'the cache was cleared');
});

test('after 10 seconds without a response no cached token is used', () => {
  const host = createWarmHost();
  for (let i = 0; i < 11; i += 1) host.wait(1_000);
  const request = api(host);
  assert.equal(request.action, PAUSE);
  assert.equal(host.calls.length, 1);
});

test('a cache with 0 entries is disabled', () => {
  const host = createHost({ cache: { entries: 0 } });
  api(host);
  api(host);
  assert.equal(host.calls.length, 2);
  assert.deepEqual(cacheCounts(host), [0, 0, 0]);
});

test('100 requests of a session make one call', () => {
  const host = createHost();
  const requests = Array.from({ length: 100 }, () => api(host));
  const other = api(host, 'other');
  assert.equal(host.calls.length, 2);
  assert.ok(requests.every(({ action }) => action === PAUSE));
  assert.equal(host.body(requests[50]), PAUSE);
  respondValid(host, host.calls[0]);
  assert.ok(requests.every((request) => request.resumed === 1 && wasForwarded(request)));
  assert.ok(requests.every(({ properties }) => properties.berth === 'session=ref-1'));
  assert.equal(host.body(requests[50]), 0);
  assert.deepEqual([other.resumed, other.replies.length], [0, 0]);
  assert.deepEqual(cacheCounts(host), [0, 2, 99]);
});

test('a refusal is rendered for each waiter and not cached', () => {
  const host = createHost({ routes: [...table.configs.default.routes.slice(0, 3), { prefix: '/pub/', action: 'authenticate', anonymous: 'allow' }, { path: '/login', action: 'bypass' }, { path: '/', action: 'bypass' }] });
  const script = api(host);
  const page = api(host, 'abc', { ':path': '/pub/x' });
  assert.equal(host.calls.length, 1);
  host.answer(host.calls.pop(), 401, serviceBody({ answer: 'unknown' }));
  assert.equal(script.replies[0].status, 440);
  assert.deepEqual([page.resumed, page.replies.length], [1, 0]);
  assert.ok(!page.headers.some(([name]) => name === 'authorization'));
  assert.equal(api(host).action, PAUSE);
  assert.equal(host.calls.length, 1);
  const lateRequest = api(host);
  host.answer(host.calls.pop(), undefined);
  assert.equal(lateRequest.replies[0].status, 503);
  assert.equal(host.body(lateRequest), PAUSE);
  assert.equal(host.metrics.get('berth_callout_failures'), 1);
  api(host);
  assert.equal(host.calls.length, 1);
});

test("when the leader disconnects, the root context repeats the call for the remaining waiters", () => {
  const host = createHost();
  const [leader, disconnected, remaining] = [api(host), api(host), api(host)];
  host.calls.pop();
  host.done(disconnected);
  host.done(leader);
  const lateRequest = api(host);
  assert.equal(host.calls.length, 0);
  assert.equal(host.tick, 50);
  host.wait(50);
  assert.equal(host.calls.length, 1);
  host.wait(50);
  assert.equal(host.calls.length, 1);
  respondValid(host, host.calls.pop());
  for (const request of [remaining, lateRequest]) assert.ok(request.resumed === 1 && wasForwarded(request));
  for (const request of [leader, disconnected]) assert.equal(request.resumed, 0);
});

test('no waiter hangs when the repeated call cannot be sent or has no response', () => {
  for (const isSent of [true, false]) {
    const host = createHost();
    const [leader, remaining] = [api(host), api(host)];
    const { cluster } = host.calls.pop();
    host.done(leader);
    if (!isSent) host.clusters.delete(cluster);
    host.wait(50);
    if (isSent) host.answer(host.calls.pop(), undefined);
    assert.equal(remaining.replies[0].status, 503);
    assert.equal(remaining.resumed, 0);
  }
});

test('a leader without waiters leaves no state', () => {
  const host = createHost();
  host.done(api(host));
  host.calls.pop();
  assert.equal(api(host).action, PAUSE);
  assert.equal(host.calls.length, 1);
  host.wait(50);
  assert.equal(host.calls.length, 1);
});

test('a request whose headers cannot be changed is not forwarded, leader or waiter', () => {
  const host = createHost();
  const requests = [api(host), api(host)];
  host.fail = { proxy_replace_header_map_value: 10 };
  respondValid(host, host.calls.pop());
  for (const request of requests) {
    assert.deepEqual([request.resumed, request.replies[0].status], [0, 503]);
  }
});

test('a request that cannot be resumed is refused, and the others are forwarded', () => {
  const host = createHost();
  const [leader, first, second] = [api(host), api(host), api(host)];
  host.done(first, { keep: true });
  respondValid(host, host.calls.pop());
  assert.deepEqual([leader.resumed, first.resumed, second.resumed], [1, 0, 1]);
});

test('memory does not grow with the number of sessions', () => {
  const host = createWarmHost({ cache: { entries: 100 } });
  const visit = (n) => {
    const request = api(host, `s${n}`);
    respondValid(host, host.calls.pop(), { session_ref: `ref-${n}` });
    host.done(request);
  };
  for (let n = 0; n < 2_000; n += 1) visit(n);
  const before = host.memory;
  for (let n = 2_000; n < 20_000; n += 1) visit(n);
  assert.equal(host.memory, before);
  assert.equal(api(host, 's19999').action, 0);
  assert.equal(api(host, 's19000').action, PAUSE);
});
