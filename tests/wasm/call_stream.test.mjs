// The call stream through the built module: when it carries calls, and what happens to them when it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

const PAUSE = 1;
const CONTINUE = 0;
const PLACEMENTS = '/v1/placements';

/** The part of protobuf that these messages use: fields with varints and with bytes. */
function decode(bytes) {
  const fields = {};
  let offset = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[offset++]);
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) return Number(value);
    }
  };
  while (offset < bytes.length) {
    const tag = varint();
    if (tag % 8 === 0) fields[tag >> 3] = varint();
    else {
      const size = varint();
      fields[tag >> 3] = bytes.subarray(offset, offset + size).toString();
      offset += size;
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

const validReply = (id, extra) => reply(id, 200, serviceBody({ answer: 'placement', with: extra }));
const upgrade = (host) => host.request(head('upgrade'));

/** A host with an open stream; the first upgrade is still an HTTP call. */
function withCallStream(config = {}, { greets: sendsGreeting = true } = {}) {
  const host = new Host();
  host.now = Date.now();
  host.takesStreams = true;
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  const [stream] = host.callStreams;
  if (sendsGreeting) host.greet(stream);
  return { host, stream };
}

const refusalOf = (request) => {
  assert.equal(request.resumed, 0);
  const { status, body } = request.replies[0];
  return [status, JSON.parse(body).reason];
};

test('a stream opens only after an answered HTTP call', () => {
  const host = new Host();
  host.takesStreams = true;
  assert.ok(host.configure(table.configs.default));
  for (let i = 0; i < 10; i += 1) host.wait(1_000);
  assert.equal(host.callStreams.length, 0);
  upgrade(host);
  assert.equal(host.calls.length, 1, 'the first call does not wait for a stream');
  host.wait(host.tick);
  assert.equal(host.callStreams.length, 0, 'the service has not answered yet and may not exist');
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  const { cluster, authority, path, context, metadata } = host.callStreams[0];
  assert.deepEqual([cluster, path, context, metadata], ['placement', '/berth.v1.Gateway/Calls', host.root, {}]);
  host.wait(host.tick);
  assert.equal(authority, host.gatewayCalls[0].headers[':authority'], 'the same as for reports: a cluster may balance by hash');
  upgrade(host);
  assert.equal(host.calls.length, 2, 'a call before the greeting does not wait either');
  assert.equal(host.callStreams[0].sent.length, 0);
});

test('a call that Envoy itself answers opens no stream', () => {
  for (const status of [503, 504]) {
    const host = new Host();
    host.takesStreams = true;
    assert.ok(host.configure(table.configs.default));
    upgrade(host);
    host.answer(host.calls[0], status, 'upstream connect error');
    for (let i = 0; i < 10; i += 1) host.wait(1_000);
    assert.equal(host.callStreams.length, 0);
  }
});

test('the name of a cluster may be long and no valid authority', () => {
  const cluster = `outbound|9455||${'placement.'.repeat(12)}svc.cluster.local`;
  const host = new Host();
  host.clusters.add(cluster);
  host.takesStreams = true;
  assert.ok(host.configure({ ...table.configs.default, service: { cluster } }));
  upgrade(host);
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  assert.equal(host.callStreams[0].cluster, cluster);
  assert.match(host.callStreams[0].authority, /^[0-9a-f]{32}\.berth-placement$/);
});

test('a stream without a greeting is reset and retried', () => {
  const { host } = withCallStream({ service: { timeout: '2s' } }, { greets: false });
  for (let ms = 0; ms < 60_000; ms += 100) {
    const request = upgrade(host);
    assert.equal(host.calls.length, 1, 'calls go over HTTP meanwhile');
    host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed, 1);
    host.done(request);
    host.wait(100);
    assert.ok(host.callStreams.filter(({ open }) => open).length <= 1);
  }
  assert.ok(host.callStreams.length >= 5 && host.callStreams.length <= 12, `${host.callStreams.length} tries in a minute`);
  host.greet(host.callStreams.findLast(({ open }) => open) ?? host.callStreams.at(-1));
});

test('the secret of the service is sent', () => {
  const { stream } = withCallStream({ service: { secret: 'of the gateway'.replaceAll(' ', '-') } });
  assert.deepEqual(stream.metadata, { authorization: 'Bearer of-the-gateway' });
});

test('calls go on the stream, and each request gets its own reply', () => {
  const { host, stream } = withCallStream();
  const [firstRequest, secondRequest] = [upgrade(host), upgrade(host)];
  assert.equal(host.calls.length, 0);
  const [first, second] = stream.sent.map(decode);
  assert.equal(first.path, PLACEMENTS);
  assert.equal(JSON.parse(first.body).session, 'abc');
  host.receive(stream, validReply(second.id, { destination: '127.0.0.1:2' }));
  assert.deepEqual([firstRequest.resumed, secondRequest.resumed], [0, 1]);
  assert.equal(host.current, host.root);
  host.receive(stream, validReply(first.id, { destination: '127.0.0.1:1' }));
  for (const [request, destination] of [[firstRequest, '127.0.0.1:1'], [secondRequest, '127.0.0.1:2']]) {
    assert.equal(request.resumed, 1);
    const set = request.headers.find(([name]) => name === 'x-berth-destination');
    assert.equal(String(set[1]), destination);
    assert.equal(host.body(request), CONTINUE);
  }
  assert.equal(host.histograms.get('berth_callout_duration_us').length, 3);
});

test('a call on the stream needs fewer host calls than an HTTP call', () => {
  const { host, stream } = withCallStream();
  upgrade(host);
  host.receive(stream, validReply(decode(stream.sent.pop()).id));
  host.counts = {};
  upgrade(host);
  host.receive(stream, validReply(decode(stream.sent.pop()).id));
  const total = Object.values(host.counts).reduce((a, b) => a + b);
  // Headers, the cookie, the client's path, the time, the message; then its context, the message, the request's context,
  // time and histogram, five headers, the access log's text, resume, the gauge of streams, the root's context.
  assert.equal(total, 19);
});

test('refusals arrive unchanged', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  const problem = { type: 'about:blank', title: 'x', status: 503, reason: 'engines-full', retry_after: 3 };
  host.receive(stream, reply(decode(stream.sent[0]).id, 503, JSON.stringify(problem)));
  assert.deepEqual(refusalOf(request), [503, 'engines-full']);
  const other = upgrade(host);
  host.receive(stream, validReply(decode(stream.sent[1]).id, { token: 'x' }));
  assert.deepEqual(refusalOf(other), [502, 'token-invalid']);
});

test('token calls use the stream, too, once for all requests of a session', () => {
  const { host, stream } = withCallStream();
  const requests = [1, 2, 3].map(() => host.request(head('api')));
  assert.equal(stream.sent.length, 1);
  const { id, path } = decode(stream.sent[0]);
  assert.equal(path, '/v1/tokens');
  host.receive(stream, reply(id, 200, serviceBody({ answer: 'token' })));
  assert.deepEqual(requests.map(({ resumed }) => resumed), [1, 1, 1]);
});

test('when the leader disconnects, its call is cancelled and repeated for the others', () => {
  const { host, stream } = withCallStream();
  const [leader, other] = [host.request(head('api')), host.request(head('api'))];
  host.done(leader);
  assert.deepEqual(decode(stream.sent[1]), { id: decode(stream.sent[0]).id, path: '', body: '' });
  host.wait(host.tick);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'token' }));
  assert.equal(other.resumed, 1);
});

test('a disconnected client cancels its call, and a late reply is dropped', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  const { id } = decode(stream.sent[0]);
  host.done(request);
  assert.deepEqual(decode(stream.sent[1]), { id, path: '', body: '' });
  host.receive(stream, validReply(id));
  assert.equal(request.resumed, 0);
});

test('an unused placement is released', () => {
  const { host, stream } = withCallStream();
  const [refusal, disconnected, repeated] = [upgrade(host), upgrade(host), upgrade(host)];
  const [first, second] = stream.sent.map(decode);
  host.receive(stream, validReply(first.id, { token: 'x', stream: 'refused' }));
  assert.deepEqual(refusalOf(refusal), [502, 'token-invalid']);
  host.done(disconnected);
  host.receive(stream, validReply(second.id, { stream: 'late' }));
  host.closeStream(stream);
  host.wait(host.tick);
  host.done(repeated);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement', with: { stream: 'saved' } }));
  const closed = [];
  for (let i = 0; i < 100; i += 1) {
    host.wait(host.tick);
    for (const call of host.gatewayCalls.splice(0)) {
      const report = JSON.parse(call.body);
      if (report.poll_timeout_ms !== 5_000) host.answer(call, 200, JSON.stringify({ cursor: 'log-1', events: [] }));
      closed.push(...(report.closed ?? []));
    }
  }
  assert.deepEqual(closed.map(({ stream, reason }) => [stream, reason]), ['refused', 'late', 'saved'].map((stream) => [stream, 'refused']));
});

test('the calls of a lost stream are repeated over HTTP', () => {
  const { host, stream } = withCallStream();
  const [firstRequest, secondRequest] = [upgrade(host), upgrade(host)];
  host.closeStream(stream);
  assert.equal(host.calls.length, 0, 'a failure is followed by no call in the same callback');
  host.wait(host.tick);
  assert.deepEqual([host.calls.length, host.metrics.get('berth_call_stream_closed_total')], [2, 1]);
  assert.ok(!stream.kept, 'Envoy would reset a freed stream');
  assert.ok(host.calls.every(({ context, headers }) => context === host.root && headers[':path'] === PLACEMENTS));
  const [first, second] = host.calls.splice(0);
  host.answer(first, 200, serviceBody({ answer: 'placement' }));
  host.answer(second, 503, 'upstream connect error');
  assert.equal(firstRequest.resumed, 1);
  assert.deepEqual(refusalOf(secondRequest), [503, 'service-unreachable']);
  // It opens again after the service has answered an HTTP call.
  upgrade(host);
  assert.equal(host.calls.length, 1);
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  for (let i = 0; i < 20 && host.callStreams.length === 1; i += 1) host.wait(host.tick);
  assert.equal(host.callStreams.length, 2);
});

test('a client that disconnects during the repeated call gets nothing', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  host.closeStream(stream);
  host.wait(host.tick);
  host.done(request);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(request.resumed, 0);
});

test('a lost call of a disconnected client is not repeated', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  host.closeStream(stream);
  host.done(request);
  host.wait(host.tick);
  assert.equal(host.calls.length, 0);
});

test('no request hangs when the repeated call fails, too', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  host.clusters.clear();
  host.closeStream(stream);
  host.wait(host.tick);
  assert.deepEqual(refusalOf(request), [503, 'service-unreachable']);
});

test('a message that cannot be sent becomes an HTTP call', () => {
  const { host, stream } = withCallStream();
  stream.open = false;
  const request = upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(request.resumed, 1);
});

test('a late reply is a timeout, and a silent stream is reset', () => {
  const { host, stream } = withCallStream({ service: { timeout: '2s' } });
  const slow = upgrade(host);
  host.wait(1_900);
  const other = upgrade(host);
  host.receive(stream, validReply(decode(stream.sent[1]).id));
  host.wait(100);
  assert.deepEqual(refusalOf(slow), [504, 'service-timeout']);
  assert.ok(stream.open && other.resumed === 1);
  assert.deepEqual(decode(stream.sent.at(-1)), { id: decode(stream.sent[0]).id, path: '', body: '' }, 'it is cancelled');
  const last = upgrade(host);
  host.wait(2_000);
  assert.deepEqual(refusalOf(last), [504, 'service-timeout']);
  assert.ok(!stream.open);
});

test('a malformed reply resets the stream and fails no request', () => {
  for (const malformed of [Buffer.from([8]), Buffer.from('junk'), reply(1, 70_000), Buffer.alloc(300_000)]) {
    const { host, stream } = withCallStream();
    const request = upgrade(host);
    host.receive(stream, malformed);
    assert.ok(!stream.open);
    host.wait(host.tick);
    host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed, 1);
  }
});

test('a service without streams answers every request over HTTP', () => {
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
    const stream = host.callStreams.find(({ open }) => open);
    if (stream) host.closeStream(stream, 12);
  }
  assert.equal(refusals, 0);
  assert.ok(host.callStreams.length >= 6 && host.callStreams.length <= 12, `${host.callStreams.length} tries in a minute`);
});

test('a failing host call leaves no request without a response', () => {
  for (const name of ['proxy_grpc_send', 'proxy_get_buffer_bytes', 'proxy_grpc_cancel']) {
    const { host, stream } = withCallStream();
    host.fail[name] = 10;
    const request = upgrade(host);
    if (stream.sent.length > 0) host.receive(stream, validReply(decode(stream.sent[0]).id));
    delete host.fail[name];
    host.wait(host.tick);
    const call = host.calls.pop();
    if (call) host.answer(call, 200, serviceBody({ answer: 'placement' }));
    assert.equal(request.resumed + request.replies.length, 1, name);
  }
});

test('an upgrade is paused until its reply', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  assert.deepEqual([request.action, host.body(request)], [PAUSE, PAUSE]);
  host.receive(stream, validReply(decode(stream.sent[0]).id));
  assert.equal(host.body(request), CONTINUE);
});
