// A 440 that arrives after the user has logged in again does not end the new session.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logIn, logInAgain, profile, failedResponse, session, waitUntil } from './support/chromium.mjs';
import { holdingProxy } from './support/proxy.mjs';
import { demo, endSession, requestCounts } from './support/stack.mjs';

test('a 440 that arrives after the login keeps the new session, and its call is repeated', async (t) => {
  let isHolding = true;
  const proxy = await holdingProxy(t, (path) => isHolding && path.includes('straggler='));
  const context = await profile(t, { baseURL: proxy.url, expect: [failedResponse(401, 440)] });
  const page = await context.newPage();
  await logIn(page, demo);
  await endSession((await cookies(page, 'berth'))[0]);
  const call = (mark) => page.evaluate(async (mark) => {
    const berth = await import('/berth/session.js');
    window[mark] = berth.fetch(`/api/echo?${mark}=1`).then((reply) => reply.status);
  }, mark);
  await call('straggler');
  // The service has rejected the call because of the ended session; the browser does not have the response yet.
  await proxy.arrived(1);
  await call('prompt');
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  assert.equal(await page.evaluate(() => window.prompt), 200);
  const [newSession] = await cookies(page, 'berth');
  const anonymous = await cookies(page, 'berth-anon');
  isHolding = false;
  proxy.release();
  assert.equal(await page.evaluate(() => window.straggler), 200);
  assert.deepEqual(await cookies(page, 'berth'), [newSession]);
  assert.deepEqual([anonymous.length, await cookies(page, 'berth-anon')], [1, anonymous]);
  assert.equal((await session(page)).account, 'demo');
  assert.equal(await dialog(page).count(), 0);
  assert.equal((await requestCounts())['GET /api/echo?straggler=1'], 1);
});

test('twenty fetches with one stale cookie get one anonymous cookie', async (t) => {
  const context = await profile(t, { expect: [failedResponse(401, 440)] });
  const page = await context.newPage();
  await page.goto('/');
  const values = new Set();
  page.on('response', async (response) => {
    const setCookie = (await response.headerValues('set-cookie')).find((value) => value.startsWith('berth-anon='));
    if (setCookie) values.add(setCookie);
  });
  await context.addCookies([{ name: 'berth', value: 'A'.repeat(43), url: page.url() }]);
  const statuses = await page.evaluate(async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, (_, n) => fetch(`/api/anything?${n}`)));
    return replies.map((reply) => reply.status);
  });
  assert.deepEqual(statuses, Array(20).fill(440));
  await waitUntil('the headers are known', () => values.size > 0);
  assert.equal(values.size, 1);
  assert.equal((await cookies(page, 'berth-anon')).length, 1);
  assert.deepEqual(await cookies(page, 'berth'), ['A'.repeat(43)]);
});
