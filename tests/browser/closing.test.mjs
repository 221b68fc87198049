// Berth's close codes in a real browser. The stack's sessions last 12 s at most.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logInAgain, openLoggedIn, failedResponse, failedSocket, waitUntil } from './support/chromium.mjs';
import { demo, endSession } from './support/stack.mjs';

const expect = [failedResponse(401, 440), failedSocket];
const PATH = '/app/sales.qvf';

/** In the page: the browser's own WebSocket and the module's, both sending all the time. */
function openBusySockets(page) {
  return page.evaluate(async (path) => {
    const berth = await import('/berth/session.js');
    berth.configure({ warnBefore: 1 });
    window.plain = new WebSocket(`${location.origin.replace('http', 'ws')}${path}`);
    window.helped = berth.openSocket(path);
    window.endings = {};
    for (const name of ['plain', 'helped']) {
      const socket = window[name];
      socket.onclose = ({ code }) => { window.endings[name] = { code }; };
      setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('{}'), 50);
    }
  }, PATH);
}

const state = (page) => page.evaluate(() => window.helped.state);
const closeEvents = (page) => page.evaluate(() => window.endings);
const isOpen = (page) => waitUntil('both are open', () => page.evaluate(
  () => window.plain.readyState === WebSocket.OPEN && window.helped.state === 'open'));

test('a logout in another client closes with 4403, and the helper does not reconnect', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  await openBusySockets(page);
  await isOpen(page);
  await endSession((await cookies(page, 'berth'))[0]);
  await waitUntil('both are closed', async () => Object.keys(await closeEvents(page)).length === 2);
  const { plain, helped: module } = await closeEvents(page);
  // The close is not always clean: the gateway resets the connection half a second after the code.
  assert.deepEqual([plain.code, module.code], [4403, 4403]);
  assert.equal(await state(page), 'closed');
  assert.equal(await dialog(page).count(), 0);
});

test('an expired session closes with 4401, and the helper requests a login and reconnects', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  await openBusySockets(page);
  await isOpen(page);
  await waitUntil('the browser\'s own socket is closed', async () => (await closeEvents(page)).plain, 30_000);
  assert.equal((await closeEvents(page)).plain.code, 4401);
  await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
  await waitUntil('the helper waits for the login', async () => (await state(page)) === 'login');
  await logInAgain(page, demo.password);
  await waitUntil('the helper is connected again', async () => (await state(page)) === 'open');
  assert.equal((await closeEvents(page)).helped, undefined, 'the page saw a close');
});
