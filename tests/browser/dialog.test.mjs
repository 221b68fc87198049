// The login dialog for an expired session: one dialog for all calls that get 440, and each call is repeated once.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logInAgain, loggedIn, profile, refused, screenshot, session, until } from './support/chromium.mjs';
import { ada, demo, endSession, seen, url } from './support/stack.mjs';

const expect = [refused(401, 440)];

/** A page whose session has ended on the server. */
async function expired(t, options = {}) {
  const page = await loggedIn(t, demo, { expect, ...options });
  await session(page);
  await endSession((await cookies(page, 'berth'))[0]);
  return page;
}

/** Starts calls in the page. Their results will be in `window.answers`. */
function call(page, count, mark) {
  return page.evaluate(async ([count, mark]) => {
    const berth = await import('/berth/session.js');
    const one = async (n) => {
      const reply = await berth.fetch(`/api/echo?${mark}=${n}`, { method: 'POST', body: `body ${n}` });
      return [reply.status, (await reply.json()).body];
    };
    const calls = Array.from({ length: count }, (_, n) => one(n).catch(String));
    window.answers = Promise.all(calls);
  }, [count, mark]);
}

const answers = (page) => page.evaluate(() => window.answers);

test('twenty calls open one dialog, and each is repeated once with its body', async (t) => {
  const page = await expired(t);
  let refusals = 0;
  page.on('response', (response) => {
    if (response.status() === 440) refusals += 1;
  });
  await call(page, 20, 'twenty');
  await dialog(page).waitFor();
  // All calls have been rejected: a second dialog would be open by now.
  await until('20 responses with 440', () => refusals === 20);
  assert.equal(await dialog(page).count(), 1);
  await screenshot(page, 'dialog');
  await logInAgain(page, demo.password);
  const all = await answers(page);
  assert.deepEqual(all, Array.from({ length: 20 }, (_, n) => [200, `body ${n}`]));
  assert.equal(await dialog(page).count(), 0);
  const reached = Object.entries(await seen()).filter(([line]) => line.includes('twenty='));
  assert.deepEqual([reached.length, reached.every(([, times]) => times === 1)], [20, true]);
  assert.equal((await cookies(page, 'berth-anon')).length, 1);
  assert.equal((await session(page)).account, 'demo');
});

test('the dialog works by keyboard alone, keeps the focus, and reports a failed login', async (t) => {
  const page = await expired(t, { colorScheme: 'dark' });
  await page.getByRole('button', { name: 'GET /api/whoami' }).press('Enter');
  const box = dialog(page);
  await box.waitFor();
  assert.equal(await box.getAttribute('aria-labelledby'), 'title');
  assert.equal(await page.getByRole('dialog', { name: 'Your session has ended' }).count(), 1);
  const name = box.getByLabel('Name');
  assert.deepEqual([await name.inputValue(), await name.isEditable()], ['demo', false]);
  assert.equal(await box.getByLabel('Password').getAttribute('autocomplete'), 'current-password');
  // The focused element is in the dialog, or outside the page.
  const inside = () => page.evaluate(() => {
    const { activeElement } = document;
    return activeElement === document.body || activeElement.dataset.berth === 'login';
  });
  for (const key of [...Array(9).fill('Tab'), ...Array(9).fill('Shift+Tab')]) {
    await page.keyboard.press(key);
    assert.ok(await inside(), key);
  }
  await box.getByLabel('Password').focus();
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.getByText('or the password is wrong').waitFor();
  assert.match(await box.getByRole('alert').textContent(), /password is wrong/);
  await screenshot(page, 'dialog-wrong-dark');
  await page.keyboard.type(demo.password);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText('"account": "demo"').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'whoami', 'the focus is back');
});

for (const [how, cancel] of [
  ['Escape', (page) => page.keyboard.press('Escape')],
  ['the button', (page) => dialog(page).getByRole('button', { name: 'Cancel' }).click()],
]) {
  test(`a cancel by ${how} opens the home page and repeats nothing`, async (t) => {
    const page = await expired(t);
    await page.goto('/?somewhere');
    const mark = `cancelled-${how.length}`;
    // The page was loaded after the end of the session, but the tab still knows the account name.
    await call(page, 3, mark);
    await dialog(page).waitFor();
    await cancel(page);
    await page.waitForURL(`${url}/`);
    const lines = Object.keys(await seen());
    assert.equal(lines.filter((line) => line.includes(mark)).length, 0);
    assert.equal(await dialog(page).count(), 0);
  });
}

test('a login with another account is logged out and opens the home page', async (t) => {
  const page = await expired(t);
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
  assert.equal(Object.keys(await seen()).filter((line) => line.includes('other=')).length, 0);
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
  const page = await expired(t);
  let times = 0;
  await page.route('**/api/echo?again=*', (route) => {
    times += 1;
    return route.fulfill({ status: 440, contentType: 'application/problem+json', body: '{}' });
  });
  await call(page, 1, 'again');
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  assert.equal((await answers(page))[0][0], 440);
  assert.equal(times, 2);
  assert.equal(await dialog(page).count(), 0);
});

test('a call that is aborted while it waits is not repeated', async (t) => {
  const page = await expired(t);
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
  assert.equal(Object.keys(await seen()).filter((line) => line.includes('given-up')).length, 0);
});

test('onExpired is called once for the end of a session', async (t) => {
  const page = await expired(t);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    window.heard = [];
    berth.onExpired((what) => window.heard.push(what));
    berth.onExpired(() => window.heard.push('not any more'))();
  });
  await call(page, 5, 'heard');
  await dialog(page).waitFor();
  await logInAgain(page, demo.password);
  await answers(page);
  assert.deepEqual(await page.evaluate(() => window.heard), [{ account: 'demo' }]);
});

test('a page can replace the texts', async (t) => {
  const page = await expired(t);
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    berth.configure({ texts: { expiredTitle: 'Lejárt' } });
    berth.fetch('/api/echo');
  });
  await page.getByRole('dialog', { name: 'Lejárt' }).waitFor();
  assert.equal(await dialog(page).getByRole('button', { name: 'Log in' }).count(), 1);
  await logInAgain(page, demo.password);
});
