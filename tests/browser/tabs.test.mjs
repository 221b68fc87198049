// Several tabs with one session: a change in one tab applies to all.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logIn, logInAgain, openLoggedIn, failedResponse, screenshot, session } from './support/chromium.mjs';
import { ada, demo, endSession, url } from './support/stack.mjs';

const expect = [failedResponse(401, 440)];

/** Two tabs of one browser, each with a call that got 440. */
async function openExpiredTabs(t) {
  const first = await openLoggedIn(t, demo, { expect });
  const second = await first.context().newPage();
  await second.goto('/');
  await second.getByText('demo ·').waitFor();
  await endSession((await cookies(first, 'berth'))[0]);
  for (const page of [first, second]) {
    await page.evaluate(async () => {
      const berth = await import('/berth/session.js');
      window.answer = berth.fetch('/api/echo').then((reply) => reply.status);
    });
    await dialog(page).waitFor();
  }
  return [first, second];
}

test('a login in one tab closes the dialog in the other, and its call continues', async (t) => {
  const [first, second] = await openExpiredTabs(t);
  await logInAgain(first, demo.password);
  await dialog(second).waitFor({ state: 'detached' });
  for (const page of [first, second]) {
    assert.equal(await page.evaluate(() => window.answer), 200);
    assert.equal(await dialog(page).count(), 0);
  }
});

test('after a login with another account in another tab, this tab opens the home page', async (t) => {
  const [first, second] = await openExpiredTabs(t);
  await second.evaluate(() => history.replaceState(null, '', '/?private-of-demo'));
  await first.evaluate(() => sessionStorage.clear());
  // With the login page, without the module.
  await logIn(first, ada);
  await second.bringToFront();
  await second.evaluate(() => dispatchEvent(new Event('focus')));
  await second.waitForURL(`${url}/`);
  await second.getByText('ada ·').waitFor();
  assert.equal((await session(first)).account, 'ada');
});

test('a logout in one tab opens the home page in the others', async (t) => {
  const first = await openLoggedIn(t, demo, { expect });
  const second = await first.context().newPage();
  await second.goto('/?private');
  await second.getByText('demo ·').waitFor();
  await first.evaluate(async () => {
    const berth = await import('/berth/session.js');
    berth.logout();
  });
  await second.waitForURL(`${url}/`);
  for (const page of [first, second]) await page.getByText('not logged in').waitFor();
  assert.deepEqual(await cookies(first, 'berth'), []);
});

test('a login with a provider opens in a new tab, and the call of this tab continues', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  // The service's response for a session of a provider.
  await page.route('**/session', async (route) => {
    const response = await route.fetch();
    const currentSession = await response.json();
    await route.fulfill({ response, json: currentSession.anonymous ? currentSession : { ...currentSession, provider: 'acme' } });
  });
  await page.reload();
  await page.getByText('demo ·').waitFor();
  await endSession((await cookies(page, 'berth'))[0]);
  await page.getByRole('button', { name: 'GET /api/whoami' }).click();
  await dialog(page).waitFor();
  await screenshot(page, 'dialog-provider');
  assert.equal(await dialog(page).getByLabel('Password').count(), 0);
  const link = dialog(page).getByRole('link', { name: 'Log in with acme' });
  assert.deepEqual(
    [await link.getAttribute('href'), await link.getAttribute('target')],
    ['/login/oidc/acme?return_to=%2F', '_blank'],
  );
  const other = await page.context().newPage();
  await logIn(other, demo);
  await page.bringToFront();
  await page.evaluate(() => dispatchEvent(new Event('focus')));
  await page.getByText('"account": "demo"').waitFor();
  assert.equal(await dialog(page).count(), 0);
});

test('a logout of a session of a provider also opens the logout of the provider', async (t) => {
  const page = await openLoggedIn(t, demo, { expect });
  // The service's response for a session of a provider.
  await page.route('**/logout', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, status: 200, json: { logout_url: '/login?at-the-provider' } });
  });
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    berth.logout();
  });
  await page.waitForURL(`${url}/login?at-the-provider`);
  assert.deepEqual(await cookies(page, 'berth'), []);
});
