// The call stream through the built module: when it opens, and which calls it carries.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, refusalOf, reply, upgrade, validReply, withCallStream } from './call_stream.mjs';
import { head, serviceBody, table } from './fixture.mjs';
import { CONTINUE, Host, PAUSE } from './host.mjs';

const PLACEMENTS = '/v1/placements';

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

test('an upgrade is paused until its reply', () => {
  const { host, stream } = withCallStream();
  const request = upgrade(host);
  assert.deepEqual([request.action, host.body(request)], [PAUSE, PAUSE]);
  host.receive(stream, validReply(decode(stream.sent[0]).id));
  assert.equal(host.body(request), CONTINUE);
});
