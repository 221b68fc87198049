// The service's side of a gateway for tests: opens streams, and answers reports and polls.
import assert from 'node:assert/strict';
import { Host } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

export const FRAME = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
export const PING = Buffer.from([0x89, 0x80, 0, 0, 0, 0]);

/** The payload of a client's close frame. */
export function closing(bytes) {
  assert.equal(bytes[0], 0x88);
  assert.equal(bytes[1], 0x80 | (bytes.length - 6));
  const payload = bytes.subarray(6).map((byte, i) => byte ^ bytes[2 + (i % 4)]);
  return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
}

export function createHost(config = {}) {
  const host = new Host();
  assert.ok(host.configure({ ...table.configs.default, ...config }));
  return host;
}

let streams = 0;

export function open(host, { session = 'ref-1', ...answer } = {}) {
  const request = host.request(head('upgrade'));
  const stream = `stream-${(streams += 1)}`;
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement', with: { session_ref: session, stream, ...answer } }));
  assert.equal(request.resumed, 1);
  return Object.assign(request, { stream });
}

/** Ticks until the gateway calls; returns the call with its parsed body. */
export function nextCall(host, limit = 100) {
  for (let i = 0; i < limit && host.gatewayCalls.length === 0; i += 1) host.wait(host.tick);
  const call = host.gatewayCalls.shift();
  assert.ok(call, 'the gateway calls');
  return { ...call, report: JSON.parse(call.body) };
}

let cursors = 0;
export const answerPoll = (host, call, events = [], extra = {}) =>
  host.answer(call, 200, JSON.stringify({ cursor: `log-${(cursors += 1)}`, events, ...extra }));

/** Answers the first poll; the second one stays in flight. */
export function startPolling(host) {
  const first = nextCall(host);
  assert.deepEqual([first.report.cursor, first.report.poll_timeout_ms], ['now', 0]);
  answerPoll(host, first);
  const heldPoll = nextCall(host);
  assert.deepEqual([heldPoll.report.cursor, heldPoll.report.poll_timeout_ms, heldPoll.timeout], [`log-${cursors}`, 5_000, 7_000]);
  return heldPoll;
}

export const sessionEnded = (session_ref, reason) => ({ type: 'session-ended', session_ref, reason });
