// The login dialog for an expired session: one dialog for all calls that get 440, and each call is repeated once.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logInAgain, openLoggedIn, profile, failedResponse, screenshot, session, waitUntil } from './support/chromium.mjs';
import { ada, demo, endSession, requestCounts, url } from './support/stack.mjs';

const expect = [failedResponse(401, 440)];

/** A page whose session has ended on the server. */
async function openExpired(t, options = {}) {
  const page = await openLoggedIn(t, demo, { expect, ...options });
  await session(page);
  await endSession((await cookies(page, 'berth'))[0]);
  return page;
}

/** Starts calls in the page. Their results will be in `window.answers`. */
function call(page, count, mark) {
  return page.evaluate(async ([count, mark]) => {
    const berth = await import('/berth/session.js');
    const callOnce = async (n) => {
      const reply = await berth.fetch(`/api/echo?${mark}=${n}`, { method: 'POST', body: `body ${n}` });
      return [reply.status, (await reply.json()).body];
    };
    const calls = Array.from({ length: count }, (_, n) => callOnce(n).catch(String));
    window.answers = Promise.all(calls);
  }, [count, mark]);
}

const answers = (page) => page.evaluate(() => window.answers);

test('twenty calls open one dialog, and each is repeated once with its body', async (t) => {
  const page = await openExpired(t);
  let refusals = 0;
  page.on('response', (response) => {
    if (response.status() === 440) refusals += 1;
  });
  await call(page, 20, 'twenty');
  await dialog(page).waitFor();
  // All calls have been rejected: a second dialog would be open by now.
  await waitUntil('20 responses with 440', () => refusals === 20);
  assert.equal(await dialog(page).count(), 1);
  await screenshot(page, 'dialog');
  await logInAgain(page, demo.password);
  const results = await answers(page);
  assert.deepEqual(results, Array.from({ length: 20 }, (_, n) => [200, `body ${n}`]));
  assert.equal(await dialog(page).count(), 0);
  const received = Object.entries(await requestCounts()).filter(([line]) => line.includes('twenty='));
  assert.deepEqual([received.length, received.every(([, attempts]) => attempts === 1)], [20, true]);
  assert.equal((await cookies(page, 'berth-anon')).length, 1);
  assert.equal((await session(page)).account, 'demo');
});

test('the dialog works by keyboard alone, keeps the focus, and reports a failed login', async (t) => {
  const page = await openExpired(t, { colorScheme: 'dark' });
  await page.getByRole('button', { name: 'GET /api/whoami' }).press('Enter');
  const loginDialog = dialog(page);
  await loginDialog.waitFor();
  assert.equal(await loginDialog.getAttribute('aria-labelledby'), 'title');
  assert.equal(await page.getByRole('dialog', { name: 'Your session has ended' }).count(), 1);
  const name = loginDialog.getByLabel('Name');
  assert.deepEqual([await name.inputValue(), await name.isEditable()], ['demo', false]);
  assert.equal(await loginDialog.getByLabel('Password').getAttribute('autocomplete'), 'current-password');
  // The focused element is in the dialog, or outside the page.
  const isFocusInside = () => page.evaluate(() => {
    const { activeElement } = document;
    return activeElement === document.body || activeElement.dataset.berth === 'login';
  });
  for (const key of [...Array(9).fill('Tab'), ...Array(9).fill('Shift+Tab')]) {
    await page.keyboard.press(key);
    assert.ok(await isFocusInside(), key);
  }
  await loginDialog.getByLabel('Password').focus();
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.getByText('or the password is wrong').waitFor();
  assert.match(await loginDialog.getByRole('alert').textContent(), /password is wrong/);
  await screenshot(page, 'dialog-wrong-dark');
  await page.keyboard.type(demo.password);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText('"account": "demo"').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'whoami', 'the focus is back');
});

for (const [method, cancel] of [
  ['Escape', (page) => page.keyboard.press('Escape')],
  ['the button', (page) => dialog(page).getByRole('button', { name: 'Cancel' }).click()],
]) {
  test(`a cancel by ${method} opens the home page and repeats nothing`, async (t) => {
    const page = await openExpired(t);
    await page.goto('/?somewhere');
    const mark = `cancelled-${method.length}`;
    // The page was loaded after the end of the session, but the tab still knows the account name.
    await call(page, 3, mark);
    await dialog(page).waitFor();
    await cancel(page);
    await page.waitForURL(`${url}/`);
    const lines = Object.keys(await requestCounts());
    assert.equal(lines.filter((line) => line.includes(mark)).length, 0);
    assert.equal(await dialog(page).count(), 0);
  });
}

test('a login with another account is logged out and opens the home page', async (t) => {
  const page = await openExpired(t);
  await page.evaluate(() => history.replaceState(null, '', '/?private-of-demo'));
  await call(page, 1, 'other');
  await dialog(page).waitFor();
  await dialog(page).getByLabel('Name').evaluate((field) => {
    field.readOnly = false;
    field.value = 'ada';
  });
  await logInAgain(page, ada.password);
  await page.waitForURL(`${url}/`);
  await page.getByText('not logged in').waitFor();
  assert.deepEqual(await cookies(page, 'berth'), []);
  assert.equal(Object.keys(await requestCounts()).filter((line) => line.includes('other=')).length, 0);
});

test('without an earlier session, 401 is returned and no dialog opens', async (t) => {
  const context = await profile(t, { expect });
  const page = await context.newPage();
  await page.goto('/');
  await call(page, 2, 'nobody');
  assert.deepEqual(await answers(page), [[401, undefined], [401, undefined]]);
  assert.equal(await dialog(page).count(), 0);
});

test('a repeated call that gets 440 again returns it', async (t) => {
  const page = await openExpired(t);
  let attempts = 0;
  await page.route('**/api/echo?again=*', (route) => {
    attempts += 1;
    return route.fulfill({ status: 440, contentType: 'application/problem+json', body: '{}' });
  });
  await call(page, 1, 'again');
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  assert.equal((await answers(page))[0][0], 440);
  assert.equal(attempts, 2);
  assert.equal(await dialog(page).count(), 0);
});

test('a call that is aborted while it waits is not repeated', async (t) => {
  const page = await openExpired(t);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    window.giveUp = new AbortController();
    const { signal } = window.giveUp;
    window.answers = berth.fetch('/api/echo?given-up', { signal }).then(() => 'sent', (error) => error.name);
  });
  await dialog(page).waitFor();
  await page.evaluate(() => window.giveUp.abort());
  assert.equal(await answers(page), 'AbortError');
  await logInAgain(page, demo.password);
  await dialog(page).waitFor({ state: 'detached' });
  assert.equal(Object.keys(await requestCounts()).filter((line) => line.includes('given-up')).length, 0);
});

test('onExpired is called once for the end of a session', async (t) => {
  const page = await openExpired(t);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    window.expiries = [];
    berth.onExpired((what) => window.expiries.push(what));
    berth.onExpired(() => window.expiries.push('not any more'))();
  });
  await call(page, 5, 'expiries');
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  await answers(page);
  assert.deepEqual(await page.evaluate(() => window.expiries), [{ account: 'demo' }]);
});

test('a page can replace the texts', async (t) => {
  const page = await openExpired(t);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    berth.configure({ texts: { expiredTitle: 'Lejárt' } });
    berth.fetch('/api/echo');
  });
  await page.getByRole('dialog', { name: 'Lejárt' }).waitFor();
  assert.equal(await dialog(page).getByRole('button', { name: 'Log in' }).count(), 1);
  await logInAgain(page, demo.password);
});
