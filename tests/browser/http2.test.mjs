// WebSockets on the HTTP/2 connection of the page (RFC 8441). The stack speaks TLS.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, openLoggedIn, failedResponse, waitUntil } from './support/chromium.mjs';
import { demo, envoyStats } from './support/stack.mjs';

test('several sockets share the page\'s connection, and a logout closes them with 4403', async (t) => {
  const page = await openLoggedIn(t, demo, { expect: [failedResponse(401, 440)], ignoreHTTPSErrors: true });
  assert.equal((await cookies(page, '__Host-berth')).length, 1);
  await page.evaluate(() => {
    window.sockets = [0, 1, 2, 3].map(() => new WebSocket(`wss://${location.host}/app/sales.qvf`));
    window.received = 0;
    window.codes = [];
    for (const socket of window.sockets) {
      socket.onmessage = () => { window.received += 1; };
      socket.onclose = ({ code }) => window.codes.push(code);
      setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('{}'), 50);
    }
  });
  await waitUntil('every socket has messages', () => page.evaluate(() => window.received >= 40
    && window.sockets.every((socket) => socket.readyState === WebSocket.OPEN)));
  const stats = await envoyStats();
  assert.equal(stats['http.http.downstream_cx_upgrades_active'], 4);
  assert.ok(stats['http.http.downstream_cx_http2_total'] >= 1);
  assert.equal(stats['http.http.downstream_cx_http1_total'], 0, 'no connection uses HTTP/1.1');
  assert.equal(await page.evaluate(() => fetch('/logout', { method: 'POST' }).then((reply) => reply.ok)), true);
  assert.deepEqual(await cookies(page, '__Host-berth'), [], 'the login cookie is removed');
  await waitUntil('all are closed', () => page.evaluate(() => window.codes.length === 4));
  assert.deepEqual(await page.evaluate(() => window.codes), [4403, 4403, 4403, 4403]);
});
