// Users of an identity provider (npm oidc-provider): login from the login page and back, and logout at both.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, profile, failedResponse, screenshot, session } from './support/chromium.mjs';
import { endSession, url } from './support/stack.mjs';

const providerLink = (page) => page.getByRole('link', { name: 'Log in with idp' });
/** The name field of the provider's login form. */
const nameField = (page) => page.locator('[name=login]');

async function submitName(page, value) {
  await nameField(page).fill(value);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** Logs in from the login page at the provider. */
async function logInAtProvider(page, account) {
  await page.goto('/login');
  await providerLink(page).click();
  await submitName(page, account);
  await page.getByText(`${account} ·`).waitFor();
}

/** Confirms the provider's logout page, which leads back to the login page. */
async function logOutAtProvider(page) {
  await page.getByRole('button', { name: 'Log out here, too' }).click();
  await page.waitForURL(`${url}/login?state=logged-out`);
}

/** Neither Berth nor the provider has a session for the browser. */
async function assertLoggedOut(page) {
  assert.deepEqual(await cookies(page, 'berth'), []);
  // The login page itself runs no script.
  const currentSession = await page.request.get('/session');
  assert.equal((await currentSession.json()).anonymous, true);
  await providerLink(page).click();
  await nameField(page).waitFor();
}

test('the login page leads to the provider, and from there back to the requested page', async (t) => {
  const context = await profile(t);
  const page = await context.newPage();
  await page.goto('/login?return_to=%2F%3Fview%3D1');
  await screenshot(page, 'login-provider');
  await providerLink(page).click();
  await nameField(page).waitFor();
  assert.notEqual(new URL(page.url()).origin, url);
  assert.deepEqual(await cookies(page, 'berth'), []);
  await submitName(page, 'ada');
  await page.getByText('ada · user ·').waitFor();
  assert.equal(page.url(), `${url}/?view=1`);
  const currentSession = await session(page);
  const { account, display_name: displayName, provider, roles } = currentSession;
  assert.deepEqual([account, displayName, provider, roles], ['idp:ada', 'ada', 'idp', ['user']]);
  const [cookie, ...otherCookies] = (await context.cookies()).filter((candidate) => candidate.name.startsWith('berth'));
  assert.deepEqual(otherCookies, [], 'the cookies of the login are removed');
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite, cookie.expires], ['berth', true, 'Lax', -1]);
  await page.getByRole('button', { name: 'GET /api/whoami' }).click();
  await page.getByText('"account": "ada"').waitFor();
});

test('the logout button also ends the session at the provider', async (t) => {
  const context = await profile(t);
  const page = await context.newPage();
  await logInAtProvider(page, 'root');
  // The provider has a session, so it shows no login form.
  await context.clearCookies({ name: 'berth' });
  await page.goto('/login');
  await providerLink(page).click();
  await page.getByText('root ·').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await logOutAtProvider(page);
  await assertLoggedOut(page);
});

test('a logout by the browser module also ends the session at the provider', async (t) => {
  const context = await profile(t);
  const page = await context.newPage();
  await logInAtProvider(page, 'ada');
  await page.evaluate(async () => {
    (await import('/berth/session.js')).logout();
  });
  await logOutAtProvider(page);
  await assertLoggedOut(page);
});

test('a call that gets 440 continues after a login at the provider in a new tab', async (t) => {
  const context = await profile(t, { expect: [failedResponse(440)] });
  const page = await context.newPage();
  await logInAtProvider(page, 'ada');
  await endSession((await cookies(page, 'berth'))[0]);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    window.answer = berth.fetch('/api/echo').then((reply) => reply.status);
  });
  await dialog(page).waitFor();
  const newPage = context.waitForEvent('page');
  await providerLink(dialog(page)).click();
  const tab = await newPage;
  // The provider has a session, so it shows no login form.
  await tab.getByText('ada ·').waitFor();
  await tab.close();
  await page.evaluate(() => dispatchEvent(new Event('focus')));
  assert.equal(await page.evaluate(() => window.answer), 200);
  assert.equal(await dialog(page).count(), 0);
});

test('a user that the provider rejects gets a message and can try again', async (t) => {
  const context = await profile(t, { expect: [failedResponse(403)] });
  const page = await context.newPage();
  await page.goto('/login');
  await providerLink(page).click();
  await submitName(page, 'nobody');
  const alert = page.getByRole('alert');
  assert.match(await alert.textContent(), /not allowed at the provider/);
  assert.deepEqual(await cookies(page, 'berth'), []);
  await providerLink(page).click();
  await submitName(page, 'ada');
  await page.getByText('ada ·').waitFor();
});
