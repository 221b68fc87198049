// No worker spins forever when the cluster of the placement service is unreachable: see "Calls that re-enter the module" in
// filter/src/abi.rs. The fake Envoy (entries.mjs) detects an entry that would.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CALLBACKS, isUsed, withExports } from '../setup/exports.mjs';
import { Host } from './host.mjs';
import { fixture, head, serviceBody, table } from './fixture.mjs';

const upgrade = (host) => host.request(head('upgrade'));
const { tokens } = table.configs.default;
const CONFIGURATION = { ...table.configs.default, tokens: { ...tokens, jwks: { refresh: '1m' } } };

/** A host with an open call stream, an open socket, and all kinds of calls due from time to time. */
function createBusyHost() {
  const host = new Host();
  host.now = Date.now();
  host.takesStreams = true;
  assert.ok(host.configure(CONFIGURATION));
  host.wait(host.tick);
  host.answer(host.calls.pop(), 200, JSON.stringify({ keys: [fixture.keys.rs] }));
  const socket = upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  host.wait(host.tick);
  host.greet(host.callStreams[0]);
  return { host, socket, stream: host.callStreams[0] };
}

/** Ends each call of the gateway with this response. */
function answerGatewayCalls(host, status, body) {
  for (const call of host.gatewayCalls.splice(0)) host.answer(call, status, body);
}

test('the module exports the callbacks in the capabilities of envoy/filter.yaml, and the one for responses of engines', () => {
  const exported = Object.keys(new Host().exports).filter((name) => name.startsWith('proxy_on_'));
  assert.deepEqual(exported.sort(), CALLBACKS.toSorted());
  const yaml = readFileSync(new URL('../../envoy/filter.yaml', import.meta.url), 'utf8');
  const allowed = [...yaml.matchAll(/^ +(proxy_on_\w+): \{\}$/gm)].map(([, name]) => name);
  // Only routes with `http: allow` need it.
  const always = CALLBACKS.filter((name) => name !== 'proxy_on_response_headers');
  assert.deepEqual(allowed.sort(), always.sort());
});

test('the other sections of a module stay unchanged', () => {
  // (module (func (export "proxy_on_queue_ready")) (func (export "kept")))
  const module = Buffer.from(
    '0061736d010000000104016000000303020000071f021470726f78795f6f6e5f71756575655f72656164790000046b65707400010a070202000b02000b',
    'hex',
  );
  const names = (bytes) => WebAssembly.Module.exports(new WebAssembly.Module(bytes)).map(({ name }) => name);
  assert.deepEqual(names(module), ['proxy_on_queue_ready', 'kept']);
  const pruned = withExports(module, isUsed);
  assert.deepEqual(names(pruned), ['kept']);
  assert.equal(module.length - pruned.length, 'proxy_on_queue_ready'.length + 3);
  assert.deepEqual(withExports(module, () => true), module);
});

test('the worker survives an outage in which every call fails within itself', () => {
  const { host, stream } = createBusyHost();
  const pending = [upgrade(host), upgrade(host), host.request(head('api')), host.request(head('api'))];
  stream.broken = true;
  host.unreachable = true;
  for (let ms = 0; ms < 70_000; ms += 250) {
    answerGatewayCalls(host, 503, 'no healthy upstream');
    const request = upgrade(host);
    host.wait(250);
    assert.equal(request.replies.length, 1, `a request after ${ms} ms`);
    host.done(request);
  }
  assert.ok(!host.entries.hung && !stream.open);
  for (const request of pending) assert.equal(request.replies.length, 1);
  host.unreachable = false;
  const requestAfterOutage = upgrade(host);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  assert.equal(requestAfterOutage.resumed, 1);
  for (let i = 0; i < 40 && host.callStreams.length === 1; i += 1) host.wait(1_000);
  assert.equal(host.callStreams.length, 2, 'a stream opens again');
});

test('sockets are reset before any call, and the end of a request makes no call', () => {
  const { host, socket } = createBusyHost();
  for (let i = 0; i < 4; i += 1) {
    host.wait(250);
    answerGatewayCalls(host, 200, JSON.stringify({ cursor: 'log-1', events: [] }));
  }
  host.wait(250);
  const ended = { type: 'session-ended', session_ref: JSON.parse(serviceBody({ answer: 'placement' })).session_ref, reason: 'revoked' };
  const poll = host.gatewayCalls.find(({ body }) => JSON.parse(body).poll_timeout_ms > 0);
  host.gatewayCalls = [];
  host.answer(poll, 200, JSON.stringify({ cursor: 'log-2', events: [ended] }));
  // At the tick of the reset every call is due and fails, also that for the keys.
  host.closeStream(host.callStreams[0]);
  host.unreachable = true;
  for (let i = 0; i < 3 && socket.reset === 0; i += 1) host.wait(61_000);
  assert.deepEqual([socket.reset, host.entries.hung], [1, false]);
});

test('calls after a reset get their responses', () => {
  const { host, socket } = createBusyHost();
  for (let i = 0; i < 20 && !host.gatewayCalls.some(({ body }) => JSON.parse(body).poll_timeout_ms > 0); i += 1) {
    answerGatewayCalls(host, 200, JSON.stringify({ cursor: 'log-1', events: [] }));
    host.wait(host.tick);
  }
  host.wait(6_000);
  const drained = { type: 'engine-drained', pool: 'qix', engine: 'engine-0', over_ms: 0 };
  answerGatewayCalls(host, 200, JSON.stringify({ cursor: 'log-2', events: [drained] }));
  for (let i = 0; i < 10 && socket.reset === 0; i += 1) host.wait(host.tick);
  assert.equal(socket.reset, 1);
  // The SDK would give the responses to the reset request: the next poll would wait for the timeout of the last one.
  for (let n = 3; n < 8; n += 1) {
    host.wait(host.tick);
    host.wait(host.tick);
    assert.ok(host.gatewayCalls.length > 0, 'the gateway calls again');
    answerGatewayCalls(host, 200, JSON.stringify({ cursor: `log-${n}`, events: [] }));
  }
});

test('the callback of a failed call starts no call', () => {
  const { host, stream } = createBusyHost();
  const requests = [host.request(head('api')), host.request(head('api'))];
  upgrade(host);
  const count = (action) => {
    const before = host.attempts;
    action();
    return host.attempts - before;
  };
  assert.equal(count(() => host.closeStream(stream)), 0);
  assert.equal(count(() => host.done(requests[0])), 0);
  host.wait(host.tick);
  for (const call of [...host.calls.splice(0), ...host.gatewayCalls.splice(0)]) {
    assert.equal(count(() => host.answer(call, 503, 'upstream connect error')), 0, call.headers[':path']);
  }
});
