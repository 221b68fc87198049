// Plain requests to engines through the built module: which of them make calls, where they go, and how they end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTINUE, Host, PAUSE } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

const POOL = 'notebooks';

function createHost() {
  const host = new Host();
  host.now = Date.now();
  assert.ok(host.configure(table.configs.plain));
  return host;
}

/** Ticks until the gateway polls; answers with these events. */
function answerPoll(host, events = [], extra = {}) {
  let at = -1;
  const findPoll = () => (at = host.feed.findIndex((call) => JSON.parse(call.body).cursor));
  for (let i = 0; i < 100 && findPoll() < 0; i += 1) host.wait(host.tick);
  const [call] = host.feed.splice(at, 1);
  assert.ok(call, 'the gateway polls');
  host.answer(call, 200, JSON.stringify({ cursor: `log-${host.now}`, events, ...extra }));
}

/** A host whose events are current. */
function createWarmHost() {
  const host = createHost();
  host.done(get(host, '/jup/warm'));
  answerPoll(host);
  host.calls.length = 0;
  return host;
}

const get = (host, path, { cookie = 'abc', set = {}, add = [] } = {}) =>
  host.request(head('kernels', { set: { ':path': path, cookie: `__Host-berth=${cookie}`, ...set }, add }));

/** An answer: the engine of one key. */
function answerWith(host, call, { affinity = {}, engine = 'engine-1', ...extra } = {}) {
  const answer = table.answers.engine;
  const changes = { engine, destination: `10.0.0.${engine.slice(-1)}:8888`, ...extra };
  host.answer(call, 200, serviceBody({ answer: 'engine', with: { ...changes, affinity: { ...answer.affinity, valid_ms: 30_000, ...affinity } } }));
}

const headerOf = (request, name) => request.headers.find(([header]) => header === name)?.[1].toString();
const engineOf = (request) => headerOf(request, 'x-berth-destination');
const cacheCounts = (host) => {
  host.wait(0);
  return ['hit', 'miss', 'coalesced'].map((result) => host.metrics.get(`berth_engine_cache.result=${result}`) ?? 0);
};

/** A host that knows the engine of one key. */
function createHostWithKey(options) {
  const host = createWarmHost();
  const request = get(host, '/jup/a');
  answerWith(host, host.calls.pop(), options);
  assert.equal(request.resumed, 1);
  host.done(request);
  return host;
}

test('a known engine needs no call', () => {
  const host = createHostWithKey();
  const request = get(host, '/jup/lab/tree?x=1');
  assert.deepEqual([request.action, host.calls.length, engineOf(request)], [CONTINUE, 0, '10.0.0.1:8888']);
  assert.equal(headerOf(request, ':path'), '/lab/tree?x=1');
  assert.equal(headerOf(request, 'x-forwarded-user'), 'ada');
  assert.ok(!headerOf(request, 'cookie'));
  assert.equal(request.properties.berth, `session=ref-1 pool=${POOL} engine=engine-1 placement=key`);
  assert.deepEqual(cacheCounts(host), [1, 2, 0]);
  // Another session, another route.
  assert.equal(get(host, '/jup/a', { cookie: 'abd' }).action, PAUSE);
  assert.equal(get(host, '/x', { set: { ':authority': 'lab.example.com' } }).action, PAUSE);
  assert.equal(host.calls.length, 2);
});

test('the answer counts from when the call was sent, and not longer than the session lives', () => {
  const host = createWarmHost();
  get(host, '/jup/a');
  const call = host.calls.pop();
  host.wait(4_000);
  answerPoll(host);
  answerWith(host, call, { affinity: { valid_ms: 6_000 } });
  host.wait(500);
  assert.equal(get(host, '/jup/a').action, CONTINUE);
  host.wait(1_500);
  answerPoll(host);
  assert.equal(get(host, '/jup/a').action, PAUSE);
  answerWith(host, host.calls.pop(), { session_expires_at: Math.floor(host.now / 1000) + 2 });
  host.wait(10);
  assert.equal(get(host, '/jup/a').action, CONTINUE);
  host.wait(2_500);
  assert.equal(get(host, '/jup/a').action, PAUSE);
});

for (const [what, event] of [
  ['its session ends', { type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }],
  ['its key moves', { type: 'key-moved', key: 'k1', epoch: 4 }],
  ['its engine closes', { type: 'engine-closed', pool: POOL, engine: 'engine-1' }],
]) {
  test(`an engine is not known any more when ${what}`, () => {
    const host = createHostWithKey();
    answerPoll(host, [{ ...event, ...(event.session_ref && { session_ref: 'ref-2' }), ...(event.key && { epoch: 3 }), ...(event.engine && { engine: 'engine-2' }) }]);
    assert.equal(get(host, '/jup/a').action, CONTINUE);
    answerPoll(host, [event]);
    assert.equal(get(host, '/jup/a').action, PAUSE);
  });
}

test('an engine is not known any more after a resync, and while events are lost', () => {
  const host = createHostWithKey();
  answerPoll(host, [], { resync: true });
  assert.equal(get(host, '/jup/a').action, PAUSE);
  answerWith(host, host.calls.pop());
  assert.equal(get(host, '/jup/a').action, CONTINUE);
  host.wait(11_000);
  assert.equal(get(host, '/jup/a').action, PAUSE);
});

test('an answer that an event has outdated is not used: the call is repeated once', () => {
  const host = createWarmHost();
  const request = get(host, '/jup/a');
  answerPoll(host, [{ type: 'key-moved', key: 'k1', epoch: 4 }]);
  answerWith(host, host.calls.pop());
  assert.deepEqual([request.resumed, request.replies.length, host.calls.length], [0, 0, 0]);
  host.wait(50);
  answerWith(host, host.calls.pop(), { engine: 'engine-2', affinity: { epoch: 4 } });
  assert.deepEqual([request.resumed, engineOf(request)], [1, '10.0.0.2:8888']);
  const other = get(host, '/jup/a', { cookie: 'abd' });
  for (let i = 0; i < 2; i += 1) {
    answerWith(host, host.calls.pop());
    host.wait(50);
  }
  const [reply] = other.replies;
  assert.deepEqual([reply.status, reply.details, host.calls.length], [503, 'engine-failed', 0]);
  assert.equal(Object.fromEntries(reply.headers)['retry-after'], '1');
});

test('requests of one route share a call', () => {
  const host = createWarmHost();
  const requests = ['/jup/a', '/jup/b', '/jup/c?x'].map((path) => get(host, path));
  assert.equal(host.calls.length, 1);
  const [closed] = requests.splice(1, 1);
  host.done(closed);
  answerWith(host, host.calls.pop());
  assert.deepEqual(requests.map(engineOf), ['10.0.0.1:8888', '10.0.0.1:8888']);
  assert.deepEqual(requests.map((request) => request.resumed), [1, 1]);
  assert.deepEqual(cacheCounts(host), [0, 2, 2]);
});

test('a request that waited for another key makes a call of its own', () => {
  const host = createWarmHost();
  const [first, second] = ['/jup/a/x', '/jup/b/x'].map((path) => get(host, path));
  answerWith(host, host.calls.pop(), { affinity: { scope: { prefix: '/jup/a/' } } });
  assert.deepEqual([first.resumed, second.resumed], [1, 0]);
  host.wait(50);
  const call = host.calls.pop();
  assert.equal(JSON.parse(call.body).path, '/jup/b/x');
  answerWith(host, call, { engine: 'engine-2', affinity: { key: 'k2', scope: { prefix: '/jup/b/' } } });
  assert.deepEqual([second.resumed, engineOf(second)], [1, '10.0.0.2:8888']);
  assert.equal(engineOf(get(host, '/jup/a/y')), '10.0.0.1:8888');
  assert.equal(engineOf(get(host, '/jup/b/y')), '10.0.0.2:8888');
});

test('requests that waited are rejected with the session, and call themselves when the rejection is of one path', () => {
  const host = createWarmHost();
  const problem = (status, reason) => JSON.stringify({ status, title: 't', reason });
  let requests = ['/jup/a', '/jup/b'].map((path) => get(host, path));
  host.answer(host.calls.pop(), 440, problem(440, 'session-expired'));
  assert.deepEqual(requests.map((request) => request.replies[0].status), [440, 440]);
  requests = ['/jup/a', '/jup/a?x', '/jup/b'].map((path) => get(host, path));
  host.answer(host.calls.pop(), 414, problem(414, 'key-too-long'));
  assert.deepEqual(requests.map((request) => request.replies.length), [1, 1, 0]);
  host.wait(50);
  answerWith(host, host.calls.pop());
  assert.equal(requests[2].resumed, 1);
});

test('requests that waited for a client that has left make one call', () => {
  const host = createWarmHost();
  const [first, ...others] = ['/jup/a', '/jup/b', '/jup/c'].map((path) => get(host, path));
  host.done(first);
  host.calls.length = 0;
  host.wait(50);
  assert.equal(host.calls.length, 1);
  answerWith(host, host.calls.pop());
  assert.deepEqual(others.map((request) => request.resumed), [1, 1]);
});

test('requests that waited are refused when the service cannot be called any more', () => {
  const host = createWarmHost();
  const [first, ...others] = ['/jup/a', '/jup/b', '/jup/c'].map((path) => get(host, path));
  host.done(first);
  host.clusters.clear();
  host.wait(50);
  assert.deepEqual(others.map((request) => request.replies[0]?.details), ['service-cluster-missing', 'service-cluster-missing']);
});

test('an engine cannot set the login cookie', () => {
  const host = createHostWithKey();
  const request = get(host, '/jup/a');
  const cookies = [['set-cookie', 'a=1; Path=/'], ['set-cookie', '__Host-berth=evil; Path=/; Secure'], ['set-cookie', 'b=2']];
  assert.equal(host.response(request, [[':status', '200'], ...cookies]), CONTINUE);
  const passed = request.response.filter(([name]) => name === 'set-cookie').map(([, value]) => value.toString());
  assert.deepEqual(passed, ['a=1; Path=/', 'b=2']);
});

test('an engine that does not answer is reported, and its own errors pass', () => {
  const host = createHostWithKey();
  const answered = get(host, '/jup/a');
  assert.equal(host.response(answered, [[':status', '503']]), CONTINUE);
  const failed = get(host, '/jup/a');
  const details = 'upstream_reset_before_response_started{connection_termination}';
  assert.equal(host.response(failed, [[':status', '503'], ['content-type', 'text/plain']], details), PAUSE);
  assert.deepEqual([answered.replies.length, failed.replies.length], [0, 1]);
  const [reply] = failed.replies;
  assert.deepEqual([reply.status, JSON.parse(reply.body).reason], [503, 'engine-failed']);
  assert.equal(Object.fromEntries(reply.headers)['retry-after'], '1');
  for (let i = 0; i < 20; i += 1) host.wait(50);
  const reports = host.feed.map((call) => JSON.parse(call.body));
  assert.deepEqual(reports.flatMap((report) => report.failed_engines ?? []), [{ pool: POOL, engine: 'engine-1' }]);
  assert.equal(host.metrics.get(`berth_engine_failures.pool=${POOL}`), 1);
});

test('a response that runs on ends with its session', () => {
  const host = createHostWithKey();
  const [running, other] = [get(host, '/jup/a'), get(host, '/jup/b')];
  host.response(running, [[':status', '200'], ['content-type', 'text/event-stream']]);
  host.done(other);
  answerPoll(host, [{ type: 'session-ended', session_ref: 'ref-1', reason: 'revoked' }]);
  assert.equal(host.tick, 50);
  host.wait(50);
  assert.deepEqual([running.reset, other.reset], [1, 0]);
});

test('only requests that count are activity of the session and the key', () => {
  const host = createHostWithKey();
  const reported = () => {
    for (let i = 0; i < 40; i += 1) host.wait(50);
    const reports = host.feed.splice(0).filter((call) => !JSON.parse(call.body).cursor);
    for (const call of reports) host.answer(call, 200, '{}');
    const bodies = reports.map((call) => JSON.parse(call.body));
    return ['active', 'active_keys'].map((field) => bodies.flatMap((body) => body[field] ?? []));
  };
  reported();
  for (const method of ['GET', 'HEAD', 'OPTIONS']) host.done(get(host, '/jup/a', { set: { ':method': method } }));
  assert.deepEqual(reported(), [[], []]);
  answerPoll(host);
  host.done(get(host, '/jup/a', { set: { ':method': 'POST' } }));
  assert.deepEqual(reported(), [['ref-1'], ['k1']]);
});
