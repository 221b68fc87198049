// The WebSocket helper: it reconnects after a lost connection with a growing delay, and knows which closes are final.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logInAgain, openLoggedIn, profile, failedResponse, failedSocket, waitUntil } from './support/chromium.mjs';
import { demo, endSession, fault, stats } from './support/stack.mjs';

const expect = [failedResponse(401, 440), failedSocket];
const PATH = '/app/sales.qvf';

/** Opens a socket in the page and records its events in `window.events`. */
function open(page, path = PATH, options = {}) {
  return page.evaluate(async ([path, options]) => {
    const berth = await import('/berth/session.js');
    const socket = berth.openSocket(path, [], options);
    window.socket = socket;
    window.events = [];
    socket.addEventListener('state', ({ detail }) => window.events.push(detail));
    socket.onopen = () => window.events.push('open');
    socket.onmessage = ({ data }) => window.events.push(data);
    socket.onclose = ({ code, wasClean }) => window.events.push({ closed: code, wasClean });
  }, [path, options]);
}

const events = (page) => page.evaluate(() => window.events);
const state = (page) => page.evaluate(() => window.socket.state);
const waitForState = (page, expected) => waitUntil(`the socket is ${expected}`, async () => (await state(page)) === expected);
const waitingEvents = async (page) => (await events(page)).filter((event) => event.state === 'waiting');
const closeEvents = async (page) => (await events(page)).filter((event) => event.closed);

/** The index of the engine that has sockets. */
async function busyEngine() {
  const all = await Promise.all([0, 1].map(stats));
  return all.findIndex((engine) => engine?.sockets > 0);
}

test('4401 opens the dialog, and the same socket continues after the login', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  let connections = 0;
  await page.routeWebSocket('**/app/**', async (socket) => {
    connections += 1;
    if (connections > 1) return socket.send('welcome back');
    await endSession((await cookies(page, 'berth'))[0]);
    await socket.close({ code: 4401, reason: 'session expired' });
  });
  await open(page);
  await dialog(page).waitFor();
  await waitForState(page, 'login');
  assert.equal(connections, 1);
  await logInAgain(page, demo.password);
  await waitUntil('a message of the second connection', async () => (await events(page)).includes('welcome back'));
  assert.deepEqual([connections, (await closeEvents(page)).length], [2, 0]);
});

test('4401 and a cancelled dialog close the socket permanently', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  await page.routeWebSocket('**/app/**', async (socket) => {
    await endSession((await cookies(page, 'berth'))[0]);
    await socket.close({ code: 4401 });
  });
  await open(page);
  await dialog(page).waitFor();
  await page.evaluate(() => {
    window.socket.addEventListener('close', ({ code }) => sessionStorage.setItem('closed', code));
  });
  await page.keyboard.press('Escape');
  await page.getByText('not logged in').waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.getItem('closed')), '4401');
});

test('4503 reconnects at once, on another engine', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  let connections = 0;
  await page.routeWebSocket('**/app/**', async (socket) => {
    connections += 1;
    if (connections > 3) return socket.send('another engine');
    await socket.close({ code: 4503, reason: 'engine drained' });
  });
  // Any other close would mean a delay of up to half an hour.
  await open(page, PATH, { minDelay: 3_600_000, maxDelay: 3_600_000 });
  await waitUntil('a message of the fourth connection', async () => (await events(page)).includes('another engine'));
  const delays = (await waitingEvents(page)).map(({ delay, code }) => ({ soon: delay < 250, code }));
  assert.deepEqual(delays, Array(3).fill({ soon: true, code: 4503 }));
  assert.deepEqual(await closeEvents(page), []);
});

for (const code of [4403, 1000]) {
  test(`${code} closes the socket permanently`, async (t) => {
    const page = await openLoggedIn(t, demo, { expect });
    let connections = 0;
    await page.routeWebSocket('**/app/**', (socket) => {
      connections += 1;
      socket.close({ code });
    });
    await open(page, PATH, { minDelay: 1, maxDelay: 1 });
    await waitForState(page, 'closed');
    assert.deepEqual(await closeEvents(page), [{ closed: code, wasClean: true }]);
    // Long enough for hundreds of attempts.
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
    assert.deepEqual([connections, await waitingEvents(page), await dialog(page).count()], [1, [], 0]);
  });
}

test('every other code reconnects within the bounds of delay and attempts', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  await page.routeWebSocket('**/app/**', (socket) => socket.close({ code: 1011 }));
  await open(page, PATH, { minDelay: 20, maxDelay: 100, attempts: 6 });
  await waitForState(page, 'closed');
  const all = await waitingEvents(page);
  assert.deepEqual(all.map(({ attempt, code }) => [attempt, code]), [1, 2, 3, 4, 5, 6].map((n) => [n, 1011]));
  [20, 40, 80, 100, 100, 100].forEach((ceiling, n) => assert.ok(all[n].delay <= ceiling, `${n}: ${all[n].delay}`));
  assert.equal((await closeEvents(page))[0].closed, 1011);
});

test('a rejected upgrade of an expired session queries the session, then opens the dialog', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  await endSession((await cookies(page, 'berth'))[0]);
  await open(page);
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  await waitForState(page, 'open');
  await page.evaluate(() => window.socket.close());
  await waitForState(page, 'closed');
});

test('a rejected upgrade without a session closes the socket without a dialog', async (t) => {
  const context = await profile(t, { expect });
  const page = await context.newPage();
  await page.goto('/');
  await open(page);
  await waitForState(page, 'closed');
  assert.deepEqual([await dialog(page).count(), (await waitingEvents(page)).length], [0, 0]);
});

test('close() without a code ends the engine session', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  const sessions = async () => (await Promise.all([0, 1].map(stats))).reduce((sum, engine) => sum + engine.sessions, 0);
  const before = await sessions();
  await open(page);
  await waitForState(page, 'open');
  await waitUntil('the engine has its session', async () => (await sessions()) === before + 1);
  await page.evaluate(() => window.socket.close());
  await waitForState(page, 'closed');
  assert.deepEqual(await closeEvents(page), [{ closed: 1000, wasClean: true }]);
  await waitUntil('the engine has ended it', async () => (await sessions()) === before);
});

test('the tab keeps its id after a reload', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  const tab = async () => {
    await open(page, '/app/sales.qvf?x=%20y');
    await waitForState(page, 'open');
    return page.evaluate(() => window.socket.url);
  };
  const name = await tab();
  assert.match(name, /^ws:\/\/127.0.0.1:\d+\/app\/sales.qvf\?x=%20y&berth_tab=[0-9a-f]{16}$/);
  await page.reload();
  assert.equal(await tab(), name);
});

// This test is the last one, because it kills an engine.
test('after the death of an engine, the socket retries and reconnects to another engine', async (t) => {
  const page = await openLoggedIn(t, demo, { expect: [...expect, failedResponse(503)] });
  await waitUntil('no socket is open', async () => (await busyEngine()) === -1);
  await open(page, PATH, { minDelay: 100, maxDelay: 400 });
  await waitUntil('an engine has it', async () => (await busyEngine()) >= 0);
  const firstEngine = await busyEngine();
  const otherEngine = 1 - firstEngine;
  const upgradesBefore = (await stats(otherEngine)).upgrades_total;
  await fault(otherEngine, { refuse: true });
  await fault(firstEngine, { die: true });
  await waitUntil('several attempts have failed', async () => (await waitingEvents(page)).length >= 4);
  assert.equal(await dialog(page).count(), 0);
  await fault(otherEngine, { refuse: false });
  await waitUntil('the other engine has it', async () => (await stats(otherEngine)).sockets === 1);
  await waitForState(page, 'open');
  const all = await waitingEvents(page);
  [100, 200, 400, 400].forEach((ceiling, n) => assert.ok(all[n].delay <= ceiling, `${n}: ${all[n].delay}`));
  assert.ok((await stats(otherEngine)).upgrades_total > upgradesBefore);
  await waitUntil('its first message arrives', async () => (await events(page)).filter((e) => String(e).includes('OnConnected')).length === 2);
  assert.equal((await closeEvents(page)).length, 0);
});
