// The warning before the idle timeout. The stack's idle timeout is 6 s, and the warning opens 4 s before it.

import assert from 'node:assert/strict';
import test from 'node:test';
import { dialog, logInAgain, openLoggedIn, failedResponse, screenshot, session } from './support/chromium.mjs';
import { demo } from './support/stack.mjs';

const expect = [failedResponse(401, 440)];
const warning = (page) => page.getByRole('alertdialog', { name: 'Are you still there?' });
const configure = (page) => page.evaluate(async () => {
  const berth = await import('/berth/session.js');
  berth.configure({ warnBefore: 4 });
  // With the default value, the warning would be open from the start.
  await berth.session();
});

async function openConfigured(t, options) {
  const page = await openLoggedIn(t, demo, { expect, ...options });
  await configure(page);
  return page;
}

test('the warning opens before the end, counts down, and one key renews the session', async (t) => {
  const page = await openConfigured(t);
  const { idle_remaining_s: before } = await session(page);
  assert.ok(before > 4, `${before} s left`);
  assert.equal(await warning(page).count(), 0);
  await warning(page).waitFor();
  await screenshot(page, 'warning');
  assert.match(await page.getByRole('timer').textContent(), /^0:0[34]$/);
  await page.getByText('0:02').waitFor();
  await page.keyboard.press('Enter');
  await warning(page).waitFor({ state: 'detached' });
  const renewed = await session(page);
  assert.ok(renewed.idle_remaining_s >= 4, `${renewed.idle_remaining_s} s left`);
});

test('without a renewal the session ends, and the dialog opens without any call', async (t) => {
  const page = await openConfigured(t, { colorScheme: 'dark' });
  await warning(page).waitFor();
  await screenshot(page, 'warning-dark');
  await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
  assert.equal(await warning(page).count(), 0);
  assert.deepEqual(await session(page), { anonymous: true });
  await logInAgain(page, demo.password);
  await dialog(page).waitFor({ state: 'detached' });
  assert.equal((await session(page)).account, 'demo');
});

test('a renewal in one tab closes the warning in the other', async (t) => {
  const page = await openConfigured(t);
  const other = await page.context().newPage();
  await other.goto('/');
  await configure(other);
  await warning(page).waitFor();
  await warning(other).waitFor();
  await warning(other).getByRole('button', { name: 'Stay signed in' }).click();
  await warning(other).waitFor({ state: 'detached' });
  await warning(page).waitFor({ state: 'detached', timeout: 2000 });
});

test('a dismissed warning opens again only after the next activity', async (t) => {
  const page = await openConfigured(t);
  await warning(page).waitFor();
  await page.keyboard.press('Escape');
  await warning(page).waitFor({ state: 'detached' });
  const { idle_remaining_s: remaining } = await session(page);
  assert.ok(remaining <= 4);
  assert.equal(await warning(page).count(), 0);
  await page.getByRole('button', { name: 'GET /api/whoami' }).click();
  await page.getByText('"account": "demo"').waitFor();
  assert.ok((await session(page)).idle_remaining_s > 4);
  await warning(page).waitFor();
});

test('a failed renewal is reported', async (t) => {
  const page = await openConfigured(t, { expect: [failedResponse(401, 440, 503)] });
  await page.route('**/session/renew', (route) => route.fulfill({ status: 503, body: '' }));
  await warning(page).waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'That did not work' }).waitFor();
  await page.unroute('**/session/renew');
  await page.keyboard.press('Enter');
  await warning(page).waitFor({ state: 'detached' });
});
