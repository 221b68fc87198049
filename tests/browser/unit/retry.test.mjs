// The retry of one call (retry.js), in Node, with a service whose responses a test sets.

import assert from 'node:assert/strict';
import test from 'node:test';
import { withRelogin } from '../../../placement-service/assets/berth/retry.js';

const origin = 'http://here.example';

/** A service that returns these statuses one after the other, and a user who logs in or cancels. */
function createService(statuses, isLoggedIn = true) {
  const sent = [];
  let logins = 0;
  const send = async (request) => {
    sent.push(await request.text());
    return new Response(null, { status: statuses[sent.length - 1] });
  };
  const relogin = async () => {
    logins += 1;
    return isLoggedIn;
  };
  const call = async (path, init) => (await withRelogin(new URL(path, origin).href, init, { send, relogin, origin })).status;
  return { call, sent, logins: () => logins };
}

test('a call with another status is sent once', async () => {
  for (const status of [200, 401, 403, 503]) {
    const service = createService([status]);
    assert.equal(await service.call('/api', { method: 'POST', body: 'b' }), status);
    assert.deepEqual([service.sent, service.logins()], [['b'], 0]);
  }
});

test('a call that gets 440 is repeated completely after the login', async () => {
  for (const body of ['text', new Blob(['text']), new URLSearchParams('text'), new TextEncoder().encode('text')]) {
    const service = createService([440, 201]);
    assert.equal(await service.call('/api', { method: 'PUT', body }), 201);
    assert.equal(service.sent.length, 2);
    assert.equal(service.sent[0], service.sent[1]);
    assert.match(service.sent[0], /^text/);
  }
});

test('a second 440 is returned', async () => {
  const service = createService([440, 440, 200]);
  assert.equal(await service.call('/api'), 440);
  assert.deepEqual([service.sent.length, service.logins()], [2, 1]);
});

test('a cancelled dialog returns the 440', async () => {
  const service = createService([440], false);
  assert.equal(await service.call('/api'), 440);
  assert.deepEqual([service.sent.length, service.logins()], [1, 1]);
});

test('a 440 of another origin opens no dialog', async () => {
  const service = createService([440]);
  assert.equal(await service.call('http://there.example/api'), 440);
  assert.equal(service.logins(), 0);
});

test('a stream is not sent twice: the call fails after the login', async () => {
  const service = createService([440]);
  const body = new Blob(['a stream']).stream();
  const call = service.call('/api', { method: 'POST', body, duplex: 'half' });
  await assert.rejects(call, { name: 'TypeError', message: /stream cannot be sent twice/ });
  assert.deepEqual([service.sent, service.logins()], [['a stream'], 1]);
});

test('a request that is aborted while it waits is not repeated', async () => {
  const abortController = new AbortController();
  const sent = [];
  const call = withRelogin(`${origin}/api`, { signal: abortController.signal }, {
    send: async () => {
      sent.push(1);
      return new Response(null, { status: 440 });
    },
    relogin: () => {
      abortController.abort();
      return Promise.resolve(true);
    },
    origin,
  });
  await assert.rejects(call, { name: 'AbortError' });
  assert.equal(sent.length, 1);
});
