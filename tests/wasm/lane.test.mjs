// The stream of calls through the built module: when it carries calls, and what becomes of them when it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

const PAUSE = 1;
const CONTINUE = 0;
const PLACEMENTS = '/v1/placements';

/** Protobuf, as far as these messages need it: fields with varints and with bytes. */
function decode(bytes) {
  const fields = {};
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at++]);
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag % 8 === 0) fields[tag >> 3] = varint();
    else {
      const size = varint();
      fields[tag >> 3] = bytes.subarray(at, at + size).toString();
      at += size;
    }
  }
  const { 1: id, 2: path = '', 3: body = '' } = fields;
  return { id, path, body };
}

const varint = (value) => (value < 0x80 ? [value] : [(value % 0x80) + 0x80, ...varint(Math.floor(value / 0x80))]);
function reply(id, status, body = '') {
  const bytes = Buffer.from(body);
  return Buffer.from([8, ...varint(id), 16, ...varint(status), 26, ...varint(bytes.length), ...bytes]);
}

const sound = (id, more) => reply(id, 200, serviceBody({ answer: 'placement', with: more }));
const upgrade = (host) => host.request(head('upgrade'));

/** A host with an open stream: the first upgrade still goes by a request. */
function withLane(config = {}, { greets = true } = {}) {
  const host = new Host();
  host.now = Date.now();
  host.takesStreams = true;
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  const [lane] = host.lanes;
  if (greets) host.laneOpens(lane);
  return { host, lane };
}

const refused = (request) => {
  assert.equal(request.resumed, 0);
  const { status, body } = request.replies[0];
  return [status, JSON.parse(body).reason];
};

test('no stream is opened before a call would have used it', () => {
  const host = new Host();
  host.takesStreams = true;
  assert.ok(host.configure(table.configs.default));
  for (let i = 0; i < 10; i += 1) host.wait(1_000);
  assert.equal(host.lanes.length, 0);
  upgrade(host);
  assert.equal(host.calls.length, 1, 'the first call does not wait for a stream');
  host.wait(host.tick);
  assert.equal(host.lanes.length, 0, 'the service has not answered yet: perhaps it is not there');
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  const { cluster, authority, path, context, metadata } = host.lanes[0];
  assert.deepEqual([cluster, path, context, metadata], ['placement', '/berth.v1.Gateway/Calls', host.root, {}]);
  host.wait(host.tick);
  assert.equal(authority, host.feed[0].headers[':authority'], 'as reports have it: for a cluster that balances by a hash');
  upgrade(host);
  assert.equal(host.calls.length, 2, 'nor does one before the service has greeted');
  assert.equal(host.lanes[0].sent.length, 0);
});

test('a call that Envoy itself has answered opens no stream', () => {
  for (const status of [503, 504]) {
    const host = new Host();
    host.takesStreams = true;
    assert.ok(host.configure(table.configs.default));
    upgrade(host);
    host.answer(host.calls[0], status, 'upstream connect error');
    for (let i = 0; i < 10; i += 1) host.wait(1_000);
    assert.equal(host.lanes.length, 0);
  }
});

test('the name of a cluster may be long, and none that could be an authority', () => {
  const cluster = `outbound|9455||${'placement.'.repeat(12)}svc.cluster.local`;
  const host = new Host();
  host.clusters.add(cluster);
  host.takesStreams = true;
  assert.ok(host.configure({ ...table.configs.default, service: { cluster } }));
  upgrade(host);
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  assert.equal(host.lanes[0].cluster, cluster);
  assert.match(host.lanes[0].authority, /^[0-9a-f]{32}\.berth-placement$/);
});

test('a service that does not greet is given up in time, and tried again', () => {
  const { host } = withLane({ service: { timeout_ms: 2_000 } }, { greets: false });
  for (let ms = 0; ms < 60_000; ms += 100) {
    const request = upgrade(host);
    assert.equal(host.calls.length, 1, 'calls go as requests meanwhile');
    host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed, 1);
    host.done(request);
    host.wait(100);
    assert.ok(host.lanes.filter(({ open }) => open).length <= 1);
  }
  assert.ok(host.lanes.length >= 5 && host.lanes.length <= 12, `${host.lanes.length} tries in a minute`);
  host.laneOpens(host.lanes.findLast(({ open }) => open) ?? host.lanes.at(-1));
});

test('the secret of the service goes along', () => {
  const { lane } = withLane({ service: { secret: 'of the gateway'.replaceAll(' ', '-') } });
  assert.deepEqual(lane.metadata, { authorization: 'Bearer of-the-gateway' });
});

test('calls go on the stream, and each request hears of its own', () => {
  const { host, lane } = withLane();
  const [one, two] = [upgrade(host), upgrade(host)];
  assert.equal(host.calls.length, 0);
  const [first, second] = lane.sent.map(decode);
  assert.equal(first.path, PLACEMENTS);
  assert.equal(JSON.parse(first.body).session, 'abc');
  host.laneSays(lane, sound(second.id, { destination: '127.0.0.1:2' }));
  assert.deepEqual([one.resumed, two.resumed], [0, 1]);
  assert.equal(host.current, host.root);
  host.laneSays(lane, sound(first.id, { destination: '127.0.0.1:1' }));
  for (const [request, destination] of [[one, '127.0.0.1:1'], [two, '127.0.0.1:2']]) {
    assert.equal(request.resumed, 1);
    const set = request.headers.find(([name]) => name === 'x-berth-destination');
    assert.equal(String(set[1]), destination);
    assert.equal(host.body(request), CONTINUE);
  }
  assert.equal(host.histograms.get('berth_callout_us').length, 3);
});

test('a call on the stream costs fewer host calls than a request', () => {
  const { host, lane } = withLane();
  upgrade(host);
  host.laneSays(lane, sound(decode(lane.sent.pop()).id));
  host.counts = {};
  upgrade(host);
  host.laneSays(lane, sound(decode(lane.sent.pop()).id));
  const all = Object.values(host.counts).reduce((a, b) => a + b);
  // Headers, the cookie, the time, the message; then its context, the message, the request's context,
  // time and histogram, five headers, the access log's text, resume, the gauge of streams, the root's context.
  assert.equal(all, 18);
});

test('refusals come through as they are', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  const problem = { type: 'about:blank', title: 'x', status: 503, reason: 'engines-full', retry_after: 3 };
  host.laneSays(lane, reply(decode(lane.sent[0]).id, 503, JSON.stringify(problem)));
  assert.deepEqual(refused(request), [503, 'engines-full']);
  const other = upgrade(host);
  host.laneSays(lane, sound(decode(lane.sent[1]).id, { token: 'x' }));
  assert.deepEqual(refused(other), [502, 'token-invalid']);
});

test('tokens come on it too, once for all requests of a session', () => {
  const { host, lane } = withLane();
  const requests = [1, 2, 3].map(() => host.request(head('api')));
  assert.equal(lane.sent.length, 1);
  const { id, path } = decode(lane.sent[0]);
  assert.equal(path, '/v1/tokens');
  host.laneSays(lane, reply(id, 200, serviceBody({ answer: 'token' })));
  assert.deepEqual(requests.map(({ resumed }) => resumed), [1, 1, 1]);
});

test('when the leader goes, its call is taken back, and the others are called for', () => {
  const { host, lane } = withLane();
  const [leader, other] = [host.request(head('api')), host.request(head('api'))];
  host.done(leader);
  assert.deepEqual(decode(lane.sent[1]), { id: decode(lane.sent[0]).id, path: '', body: '' });
  host.wait(host.tick);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'token' }));
  assert.equal(other.resumed, 1);
});

test('a client that is gone takes its call back, and a late answer finds nobody', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  const { id } = decode(lane.sent[0]);
  host.done(request);
  assert.deepEqual(decode(lane.sent[1]), { id, path: '', body: '' });
  host.laneSays(lane, sound(id));
  assert.equal(request.resumed, 0);
});

test('a placement that nobody uses is given back', () => {
  const { host, lane } = withLane();
  const [refusal, gone, lost] = [upgrade(host), upgrade(host), upgrade(host)];
  const [first, second] = lane.sent.map(decode);
  host.laneSays(lane, sound(first.id, { token: 'x', stream: 'refused' }));
  assert.deepEqual(refused(refusal), [502, 'token-invalid']);
  host.done(gone);
  host.laneSays(lane, sound(second.id, { stream: 'late' }));
  host.laneCloses(lane);
  host.wait(host.tick);
  host.done(lost);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement', with: { stream: 'saved' } }));
  const closed = [];
  for (let i = 0; i < 100; i += 1) {
    host.wait(host.tick);
    for (const call of host.feed.splice(0)) {
      const report = JSON.parse(call.body);
      if (report.hold_ms !== 5_000) host.answer(call, 200, JSON.stringify({ cursor: 'log-1', events: [] }));
      closed.push(...(report.closed ?? []));
    }
  }
  assert.deepEqual(closed.map(({ stream, reason }) => [stream, reason]), ['refused', 'late', 'saved'].map((stream) => [stream, 'refused']));
});

test('whoever waits on a stream that is lost is asked for by a request', () => {
  const { host, lane } = withLane();
  const [one, two] = [upgrade(host), upgrade(host)];
  host.laneCloses(lane);
  assert.equal(host.calls.length, 0, 'what has failed is followed by no call in the same entry');
  host.wait(host.tick);
  assert.deepEqual([host.calls.length, host.metrics.get('berth_call_streams_ended')], [2, 1]);
  assert.ok(!lane.kept, 'Envoy would reset a stream that is freed');
  assert.ok(host.calls.every(({ context, headers }) => context === host.root && headers[':path'] === PLACEMENTS));
  const [first, second] = host.calls.splice(0);
  host.answer(first, 200, serviceBody({ answer: 'placement' }));
  host.answer(second, 503, 'upstream connect error');
  assert.equal(one.resumed, 1);
  assert.deepEqual(refused(two), [503, 'service-unreachable']);
  // It is opened again when somebody wants it, and the service has answered.
  upgrade(host);
  assert.equal(host.calls.length, 1);
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  for (let i = 0; i < 20 && host.lanes.length === 1; i += 1) host.wait(host.tick);
  assert.equal(host.lanes.length, 2);
});

test('a client that goes while its lost call is made good is left alone', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  host.laneCloses(lane);
  host.wait(host.tick);
  host.done(request);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(request.resumed, 0);
});

test('a client that goes before its lost call is made good is asked for no more', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  host.laneCloses(lane);
  host.done(request);
  host.wait(host.tick);
  assert.equal(host.calls.length, 0);
});

test('when no request can be made either, nobody hangs', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  host.clusters.clear();
  host.laneCloses(lane);
  host.wait(host.tick);
  assert.deepEqual(refused(request), [503, 'service-unreachable']);
});

test('a message that cannot be sent is a request', () => {
  const { host, lane } = withLane();
  lane.open = false;
  const request = upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(request.resumed, 1);
});

test('an answer that does not come in time is a timeout, and a silent stream is cut off', () => {
  const { host, lane } = withLane({ service: { timeout_ms: 2_000 } });
  const slow = upgrade(host);
  host.wait(1_900);
  const other = upgrade(host);
  host.laneSays(lane, sound(decode(lane.sent[1]).id));
  host.wait(100);
  assert.deepEqual(refused(slow), [504, 'service-timeout']);
  assert.ok(lane.open && other.resumed === 1);
  assert.deepEqual(decode(lane.sent.at(-1)), { id: decode(lane.sent[0]).id, path: '', body: '' }, 'it is taken back');
  const last = upgrade(host);
  host.wait(2_000);
  assert.deepEqual(refused(last), [504, 'service-timeout']);
  assert.ok(!lane.open);
});

test('what is no reply ends the stream, and fails nobody', () => {
  for (const junk of [Buffer.from([8]), Buffer.from('junk'), reply(1, 70_000), Buffer.alloc(300_000)]) {
    const { host, lane } = withLane();
    const request = upgrade(host);
    host.laneSays(lane, junk);
    assert.ok(!lane.open);
    host.wait(host.tick);
    host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed, 1);
  }
});

test('a service that takes no streams costs no request its answer', () => {
  const host = new Host();
  host.takesStreams = true;
  assert.ok(host.configure(table.configs.default));
  let refusals = 0;
  for (let ms = 0; ms < 60_000; ms += 100) {
    const request = upgrade(host);
    host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
    refusals += request.resumed === 1 ? 0 : 1;
    host.done(request);
    host.wait(100);
    const lane = host.lanes.find(({ open }) => open);
    if (lane) host.laneCloses(lane, 12);
  }
  assert.equal(refusals, 0);
  assert.ok(host.lanes.length >= 6 && host.lanes.length <= 12, `${host.lanes.length} tries in a minute`);
});

test('a failing host call fails no request without an answer', () => {
  for (const name of ['proxy_grpc_send', 'proxy_get_buffer_bytes', 'proxy_grpc_cancel']) {
    const { host, lane } = withLane();
    host.fail[name] = 10;
    const request = upgrade(host);
    if (lane.sent.length > 0) host.laneSays(lane, sound(decode(lane.sent[0]).id));
    delete host.fail[name];
    host.wait(host.tick);
    const call = host.calls.pop();
    if (call) host.answer(call, 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed + request.replies.length, 1, name);
  }
});

test('an upgrade waits until it is told', () => {
  const { host, lane } = withLane();
  const request = upgrade(host);
  assert.deepEqual([request.action, host.body(request)], [PAUSE, PAUSE]);
  host.laneSays(lane, sound(decode(lane.sent[0]).id));
  assert.equal(host.body(request), CONTINUE);
});
