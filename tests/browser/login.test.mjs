// The login page, and the responses to a browser without a session.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, logIn, openLoggedIn, profile, failedResponse, screenshot } from './support/chromium.mjs';
import { demo, endSession, url } from './support/stack.mjs';

test('the login page works by keyboard alone, also after a wrong password', async (t) => {
  const context = await profile(t, { expect: [failedResponse(401)] });
  const page = await context.newPage();
  await page.goto('/login?return_to=%2F%3Fview%3D1');
  await screenshot(page, 'login');
  const { keyboard } = page;
  const focusedField = () => page.evaluate(() => document.activeElement.name);
  assert.equal(await focusedField(), 'username');
  await keyboard.type(demo.name);
  await keyboard.press('Tab');
  await keyboard.type('not the password');
  await keyboard.press('Enter');
  const alert = page.getByRole('alert');
  assert.match(await alert.textContent(), /name or the password is wrong/);
  await screenshot(page, 'login-wrong');
  assert.equal(await page.getByLabel('Name').inputValue(), demo.name);
  assert.equal(await page.getByLabel('Password').inputValue(), '');
  assert.equal(await focusedField(), 'password');
  await keyboard.type(demo.password);
  await keyboard.press('Tab');
  await keyboard.press('Enter');
  await page.getByText('demo ·').waitFor();
  assert.equal(page.url(), `${url}/?view=1`);
  const [cookie] = (await context.cookies()).filter(({ name }) => name === 'berth');
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, 'Lax');
  assert.equal(cookie.expires, -1);
  // The cookie that marks this browser as known is sent to the login page alone.
  const deviceCookies = async (path) => (await context.cookies(url + path)).filter(({ name }) => name === 'berth-device');
  const [device] = await deviceCookies('/login');
  assert.deepEqual([device.httpOnly, device.sameSite], [true, 'Lax']);
  assert.deepEqual(await deviceCookies('/api/whoami'), []);
});

test('the login page needs no script, and fits a phone in dark mode', async (t) => {
  const phone = { viewport: { width: 360, height: 640 }, colorScheme: 'dark', javaScriptEnabled: false };
  const context = await profile(t, { ...phone, expect: [failedResponse(401)] });
  const page = await context.newPage();
  await page.goto('/login');
  await page.getByLabel('Name').fill('nobody');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('alert').waitFor();
  await screenshot(page, 'login-phone-dark');
  const { width } = await page.locator('html').boundingBox();
  assert.equal(width, 360);
  await page.getByLabel('Name').fill(demo.name);
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL(`${url}/`);
  assert.equal((await cookies(page, 'berth')).length, 1);
});

test('a navigation to a path of WebSockets leads to the login, and from there to a page', async (t) => {
  const context = await profile(t);
  const page = await context.newPage();
  await page.goto('/app/sales.qvf?a=1&b=2');
  assert.equal(page.url(), `${url}/login`);
  await page.getByLabel('Name').fill(demo.name);
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL(`${url}/`);
});

test('a fetch gets 401 without a cookie, and 440 with a stale one', async (t) => {
  const page = await openLoggedIn(t, demo, { expect: [failedResponse(401, 440)] });
  const call = () => page.evaluate(async () => {
    const reply = await fetch('/api/whoami');
    return { status: reply.status, type: reply.headers.get('content-type'), ...(await reply.json()) };
  });
  assert.equal((await call()).account, 'demo');
  const [id] = await cookies(page, 'berth');
  await endSession(id);
  const staleReply = await call();
  assert.deepEqual([staleReply.status, staleReply.type, staleReply.reason], [440, 'application/problem+json', 'unknown-session']);
  assert.deepEqual(await cookies(page, 'berth'), [id], 'a 440 keeps the login cookie');
  await page.context().clearCookies();
  assert.deepEqual([(await call()).status, (await call()).reason], [401, 'no-session']);
});

test('after logout the back button shows nothing private', async (t) => {
  const page = await openLoggedIn(t, demo, { expect: [failedResponse(401)] });
  await page.getByRole('button', { name: 'GET /api/whoami' }).click();
  await page.getByText('"account": "demo"').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL('**/login?state=logged-out');
  await page.getByRole('status').getByText('You are logged out.').waitFor();
  assert.deepEqual(await cookies(page, 'berth'), []);
  await page.goBack();
  await page.getByText('not logged in').waitFor();
  assert.equal(await page.getByText('"account": "demo"').count(), 0);
  assert.equal(await page.getByRole('dialog').count(), 0);
  await logIn(page, demo);
});
