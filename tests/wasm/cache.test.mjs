// Cached tokens and shared calls through the built module: which calls are made, and which requests get the response.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { fixture, head, serviceBody, table } from './fixture.mjs';

const PAUSE = 1;

function ready(config = {}) {
  const host = new Host();
  host.now = Date.now();
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  return host;
}

const api = (host, cookie = 'abc', more = {}) =>
  host.request(head('api', { set: { cookie: `__Host-berth=${cookie}`, ...more } }));
const respondValid = (host, call, more = {}) =>
  host.answer(call, 200, serviceBody({ answer: 'token', with: more }));
const went = (request) =>
  request.headers.some(([name, value]) => name === 'authorization' && String(value) === `Bearer ${fixture.tokens.hs}`);
const counted = (host) => {
  // Counters of requests are flushed at the next tick.
  host.wait(0);
  return ['hit', 'miss', 'coalesced'].map((result) => host.metrics.get(`berth_cache.result=${result}`) ?? 0);
};

/** Ticks until the gateway polls; answers with these events. */
function answerPoll(host, events = [], more = {}) {
  for (let i = 0; i < 100 && host.feed.length === 0; i += 1) host.wait(host.tick);
  const call = host.feed.shift();
  assert.ok(call, 'the gateway polls');
  host.answer(call, 200, JSON.stringify({ cursor: `log-${host.now}`, events, ...more }));
}

/** A host that has a cursor, with the token of one session in its cache. */
function warm(config) {
  const host = ready(config);
  api(host);
  answerPoll(host);
  respondValid(host, host.calls.pop());
  api(host);
  respondValid(host, host.calls.pop());
  return host;
}

test('a cached token needs no call and is counted', () => {
  const host = warm();
  const request = api(host);
  assert.deepEqual([host.calls.length, request.resumed, request.action], [0, 0, 0]);
  assert.ok(went(request));
  assert.ok(!request.headers.some(([name]) => name === 'cookie'));
  assert.equal(request.properties.berth, 'session=ref-1');
  assert.deepEqual(counted(host), [1, 2, 0]);
  assert.equal(host.histograms.get('berth_callout_duration_us').length, 2);
  // Another cookie means another session.
  assert.equal(api(host, 'abd').action, PAUSE);
});

test('cache hits are reported as activity', () => {
  const host = warm();
  api(host);
  const active = () => host.feed.flatMap(({ body }) => JSON.parse(body).active ?? []);
  for (let i = 0; i < 200 && active().length === 0; i += 1) host.wait(host.tick);
  assert.deepEqual(active(), ['ref-1']);
});

test('a token is cached for at most 30 seconds', () => {
  const host = warm();
  for (let i = 0; i < 28; i += 1) {
    host.wait(1_000);
    while (host.feed.length > 0) answerPoll(host);
  }
  assert.equal(api(host).action, 0);
  host.wait(1_000);
  assert.equal(api(host).action, PAUSE);
});

test('an ended session loses its token, and a gap in the events clears the cache', () => {
  const ended = [{ type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }];
  const other = [{ type: 'session-ended', session_ref: 'ref-2', reason: 'revoked' }];
  for (const [events, more, action] of [[ended, {}, PAUSE], [[], { resync: true }, PAUSE], [other, {}, 0]]) {
    const host = warm();
    answerPoll(host, events, more);
    assert.equal(api(host).action, action);
  }
});

test('a token that was requested before the first poll is not cached', () => {
  const host = ready();
  api(host);
  const early = host.calls.pop();
  answerPoll(host);
  respondValid(host, early);
  assert.equal(api(host).action, PAUSE);
});

const robot = (host) =>
  host.request(head('api', { set: { cookie: null }, add: [['authorization', `Bearer ${fixture.tokens.hs_sid}`]] }));

test("a token of a session is confirmed once, and ends with its session", () => {
  const host = ready({ routes: [{ prefix: '/api/', action: 'authenticate', bearer: 'allow' }] });
  robot(host);
  answerPoll(host);
  respondValid(host, host.calls.pop(), { token: fixture.tokens.hs_sid });
  const [first, second] = [robot(host), robot(host)];
  assert.equal(host.calls.length, 1);
  assert.deepEqual(JSON.parse(host.calls[0].body), { token: fixture.tokens.hs_sid });
  respondValid(host, host.calls.pop(), { token: fixture.tokens.hs_sid });
  const cached = robot(host);
  assert.deepEqual([first.resumed, second.resumed, cached.action, host.calls.length], [1, 1, 0, 0]);
  const sent = cached.headers.filter(([name]) => name === 'authorization').map(([, value]) => String(value));
  assert.deepEqual(sent, [`Bearer ${fixture.tokens.hs_sid}`]);
  answerPoll(host, [{ type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }]);
  const late = robot(host);
  assert.deepEqual([late.action, host.calls.length], [PAUSE, 1]);
  host.answer(host.calls.pop(), 401, JSON.stringify({ status: 401, title: 't', reason: 'bearer-invalid' }));
  assert.deepEqual([late.resumed, late.replies[0].status], [0, 401]);
});

test('after the clock moves back no cached token is used', () => {
  const host = warm();
  host.wait(1_000);
  host.now -= 3_600_000;
  host.wait(50);
  assert.equal(api(host).action, PAUSE);
  respondValid(host, host.calls.pop());
  host.feed.length = 0;
  answerPoll(host);
  assert.equal(api(host).action, PAUSE, 'the cache was cleared');
});

test('after 10 seconds without a response no cached token is used', () => {
  const host = warm();
  for (let i = 0; i < 11; i += 1) host.wait(1_000);
  const request = api(host);
  assert.equal(request.action, PAUSE);
  assert.equal(host.calls.length, 1);
});

test('a cache with 0 entries is disabled', () => {
  const host = ready({ cache: { entries: 0 } });
  api(host);
  api(host);
  assert.equal(host.calls.length, 2);
  assert.deepEqual(counted(host), [0, 0, 0]);
});

test('100 requests of a session make one call', () => {
  const host = ready();
  const requests = Array.from({ length: 100 }, () => api(host));
  const other = api(host, 'other');
  assert.equal(host.calls.length, 2);
  assert.ok(requests.every(({ action }) => action === PAUSE));
  assert.equal(host.body(requests[50]), PAUSE);
  respondValid(host, host.calls[0]);
  assert.ok(requests.every((request) => request.resumed === 1 && went(request)));
  assert.ok(requests.every(({ properties }) => properties.berth === 'session=ref-1'));
  assert.equal(host.body(requests[50]), 0);
  assert.deepEqual([other.resumed, other.replies.length], [0, 0]);
  assert.deepEqual(counted(host), [0, 2, 99]);
});

test('a refusal is rendered for each waiter and not cached', () => {
  const host = ready({ routes: [...table.configs.default.routes.slice(0, 3), { prefix: '/pub/', action: 'authenticate', anonymous: 'allow' }, { path: '/login', action: 'bypass' }, { path: '/', action: 'bypass' }] });
  const script = api(host);
  const page = api(host, 'abc', { ':path': '/pub/x' });
  assert.equal(host.calls.length, 1);
  host.answer(host.calls.pop(), 401, serviceBody({ answer: 'unknown' }));
  assert.equal(script.replies[0].status, 440);
  assert.deepEqual([page.resumed, page.replies.length], [1, 0]);
  assert.ok(!page.headers.some(([name]) => name === 'authorization'));
  assert.equal(api(host).action, PAUSE);
  assert.equal(host.calls.length, 1);
  const late = api(host);
  host.answer(host.calls.pop(), undefined);
  assert.equal(late.replies[0].status, 503);
  assert.equal(host.body(late), PAUSE);
  assert.equal(host.metrics.get('berth_callout_failures'), 1);
  api(host);
  assert.equal(host.calls.length, 1);
});

test("when the leader disconnects, the root context repeats the call for the remaining waiters", () => {
  const host = ready();
  const [leader, gone, left] = [api(host), api(host), api(host)];
  host.calls.pop();
  host.done(gone);
  host.done(leader);
  const late = api(host);
  assert.equal(host.calls.length, 0);
  assert.equal(host.tick, 50);
  host.wait(50);
  assert.equal(host.calls.length, 1);
  host.wait(50);
  assert.equal(host.calls.length, 1);
  respondValid(host, host.calls.pop());
  for (const request of [left, late]) assert.ok(request.resumed === 1 && went(request));
  for (const request of [leader, gone]) assert.equal(request.resumed, 0);
});

test('no waiter hangs when the repeated call cannot be sent or has no response', () => {
  for (const sent of [true, false]) {
    const host = ready();
    const [leader, left] = [api(host), api(host)];
    const { cluster } = host.calls.pop();
    host.done(leader);
    if (!sent) host.clusters.delete(cluster);
    host.wait(50);
    if (sent) host.answer(host.calls.pop(), undefined);
    assert.equal(left.replies[0].status, 503);
    assert.equal(left.resumed, 0);
  }
});

test('a leader without waiters leaves no state', () => {
  const host = ready();
  host.done(api(host));
  host.calls.pop();
  assert.equal(api(host).action, PAUSE);
  assert.equal(host.calls.length, 1);
  host.wait(50);
  assert.equal(host.calls.length, 1);
});

test('a request whose headers cannot be changed is not forwarded, leader or waiter', () => {
  const host = ready();
  const requests = [api(host), api(host)];
  host.fail = { proxy_replace_header_map_value: 10 };
  respondValid(host, host.calls.pop());
  for (const request of requests) {
    assert.deepEqual([request.resumed, request.replies[0].status], [0, 503]);
  }
});

test('a request that cannot be resumed is refused, and the others are forwarded', () => {
  const host = ready();
  const [leader, first, second] = [api(host), api(host), api(host)];
  host.done(first, { keep: true });
  respondValid(host, host.calls.pop());
  assert.deepEqual([leader.resumed, first.resumed, second.resumed], [1, 0, 1]);
});

test('memory does not grow with the number of sessions', () => {
  const host = warm({ cache: { entries: 100 } });
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
