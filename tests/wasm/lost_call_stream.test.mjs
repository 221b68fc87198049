// What happens to the calls of a call stream that ends, fails or stays silent, through the built module.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, refusalOf, reply, upgrade, validReply, withCallStream } from './call_stream.mjs';
import { serviceBody, table } from './fixture.mjs';
import { Host } from './host.mjs';

const PLACEMENTS = '/v1/placements';

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
