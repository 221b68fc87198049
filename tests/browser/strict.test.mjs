// A login cookie with SameSite=Strict, and a provider on another site: no browser sends the cookie in a navigation that
// the provider has begun.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, profile } from './support/chromium.mjs';
import { url } from './support/stack.mjs';

test('a login at a provider of another site ends on the requested page', async (t) => {
  const context = await profile(t);
  const page = await context.newPage();
  let logins = 0;
  page.on('request', (request) => { logins += new URL(request.url()).pathname === '/login'; });
  // The only provider: the login page leads to it.
  await page.goto('/login?return_to=%2F%3Fview%3D1');
  await page.locator('[name=login]').fill('ada');
  assert.notEqual(new URL(page.url()).hostname, new URL(url).hostname);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('ada · user ·').waitFor();
  assert.equal(page.url(), `${url}/?view=1`);
  assert.equal(logins, 1, 'the login does not begin again');
  const [cookie] = (await context.cookies()).filter(({ name }) => name === 'berth');
  assert.equal(cookie.sameSite, 'Strict');
  assert.equal((await cookies(page, 'berth')).length, 1);
});
