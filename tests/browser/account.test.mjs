// The account page: the user's logins and a new password, without scripts and with the browser module.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, openLoggedIn, failedResponse, profile, screenshot, session, waitUntil } from './support/chromium.mjs';
import { ada, demo } from './support/stack.mjs';

/** Calls a function of the browser module in the page. */
function call(page, name, ...args) {
  return page.evaluate(async ([called, given]) => (await import('/berth/session.js'))[called](...given), [name, args]);
}

test('the page ends another login and changes the password, without scripts', async (t) => {
  const other = await openLoggedIn(t, ada, { expect: [failedResponse(440)] });
  const here = await openLoggedIn(t, ada);
  const state = await here.context().storageState();
  const context = await profile(t, { javaScriptEnabled: false, storageState: state, expect: [failedResponse(401)] });
  const page = await context.newPage();
  await page.goto('/login/account');
  await page.getByText('this browser').waitFor();
  await screenshot(page, 'account');
  await page.getByRole('button', { name: 'End', exact: true }).first().click();
  await page.getByText('The login has ended.').waitFor();
  await waitUntil('the other login has ended', async () => (await session(other)).anonymous);
  const submit = async (current) => {
    await page.getByLabel('Current password').fill(current);
    await page.getByLabel('New password').fill('another-password');
    await page.getByRole('button', { name: 'Change the password' }).click();
  };
  await submit('wrong');
  await page.getByRole('alert').waitFor();
  await submit(ada.password);
  await page.getByText('Your password has been changed.').waitFor();
  assert.equal((await session(here)).account, 'ada');
});

test('the browser module lists logins, ends them and changes the password', async (t) => {
  const expect = [failedResponse(400, 401, 404, 440)];
  const other = await openLoggedIn(t, demo, { expect });
  const page = await openLoggedIn(t, demo, { expect });
  const logins = await call(page, 'sessions');
  assert.deepEqual(logins.map((login) => login.current), [false, true]);
  assert.deepEqual(await call(other, 'sessions').then((own) => own.map((login) => login.current)), [true, false]);
  await call(page, 'endSession', logins[0].session_ref);
  await waitUntil('the other login has ended', async () => (await session(other)).anonymous);
  await assert.rejects(call(page, 'endSession', 'no-such-session'), /404/);
  assert.equal(await call(page, 'endOtherSessions'), 0);
  await assert.rejects(call(page, 'changePassword', 'wrong', 'another-password'), /401/);
  await assert.rejects(call(page, 'changePassword', demo.password, 'short'), /400/);
  assert.equal(await call(page, 'changePassword', demo.password, 'another-password'), 0);
  assert.equal((await cookies(page, 'berth')).length, 1);
  assert.equal((await session(page)).display_name, 'demo');
});
