// The service's side of the call stream for tests: its messages, and a host with an open stream.
import assert from 'node:assert/strict';
import { Host } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

/** The part of protobuf that these messages use: fields with varints and with bytes. */
export function decode(bytes) {
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
export function reply(id, status, body = '') {
  const bytes = Buffer.from(body);
  return Buffer.from([8, ...varint(id), 16, ...varint(status), 26, ...varint(bytes.length), ...bytes]);
}

export const validReply = (id, extra) => reply(id, 200, serviceBody({ answer: 'placement', with: extra }));
export const upgrade = (host) => host.request(head('upgrade'));

/** A host with an open stream; the first upgrade is still an HTTP call. */
export function withCallStream(config = {}, { greets: sendsGreeting = true } = {}) {
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

export const refusalOf = (request) => {
  assert.equal(request.resumed, 0);
  const { status, body } = request.replies[0];
  return [status, JSON.parse(body).reason];
};
