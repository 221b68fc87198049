// The retry of one call (retry.js), in Node, with a service whose responses a test sets.

import assert from 'node:assert/strict';
import test from 'node:test';
import { withRelogin } from '../../../placement-service/assets/berth/retry.js';

const origin = 'http://here.example';

/** A service that returns these statuses one after the other, and a user who logs in or cancels. */
function world(statuses, back = true) {
  const sent = [];
  let logins = 0;
  const send = async (request) => {
    sent.push(await request.text());
    return new Response(null, { status: statuses[sent.length - 1] });
  };
  const relogin = async () => {
    logins += 1;
    return back;
  };
  const call = async (path, init) => (await withRelogin(new URL(path, origin).href, init, { send, relogin, origin })).status;
  return { call, sent, logins: () => logins };
}

test('a call with another status is sent once', async () => {
  for (const status of [200, 401, 403, 503]) {
    const w = world([status]);
    assert.equal(await w.call('/api', { method: 'POST', body: 'b' }), status);
    assert.deepEqual([w.sent, w.logins()], [['b'], 0]);
  }
});

test('a call that gets 440 is repeated completely after the login', async () => {
  for (const body of ['text', new Blob(['text']), new URLSearchParams('text'), new TextEncoder().encode('text')]) {
    const w = world([440, 201]);
    assert.equal(await w.call('/api', { method: 'PUT', body }), 201);
    assert.equal(w.sent.length, 2);
    assert.equal(w.sent[0], w.sent[1]);
    assert.match(w.sent[0], /^text/);
  }
});

test('a second 440 is returned', async () => {
  const w = world([440, 440, 200]);
  assert.equal(await w.call('/api'), 440);
  assert.deepEqual([w.sent.length, w.logins()], [2, 1]);
});

test('a cancelled dialog returns the 440', async () => {
  const w = world([440], false);
  assert.equal(await w.call('/api'), 440);
  assert.deepEqual([w.sent.length, w.logins()], [1, 1]);
});

test('a 440 of another origin opens no dialog', async () => {
  const w = world([440]);
  assert.equal(await w.call('http://there.example/api'), 440);
  assert.equal(w.logins(), 0);
});

test('a stream is not sent twice: the call fails after the login', async () => {
  const w = world([440]);
  const body = new Blob(['a stream']).stream();
  const call = w.call('/api', { method: 'POST', body, duplex: 'half' });
  await assert.rejects(call, { name: 'TypeError', message: /stream cannot be sent twice/ });
  assert.deepEqual([w.sent, w.logins()], [['a stream'], 1]);
});

test('a request that is aborted while it waits is not repeated', async () => {
  const giveUp = new AbortController();
  const sent = [];
  const call = withRelogin(`${origin}/api`, { signal: giveUp.signal }, {
    send: async () => {
      sent.push(1);
      return new Response(null, { status: 440 });
    },
    relogin: () => {
      giveUp.abort();
      return Promise.resolve(true);
    },
    origin,
  });
  await assert.rejects(call, { name: 'AbortError' });
  assert.equal(sent.length, 1);
});
