// The warning before the absolute timeout, which no activity extends. The stack's sessions last 7 s at most.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logInAgain, openLoggedIn, failedResponse, screenshot, session } from './support/chromium.mjs';
import { demo } from './support/stack.mjs';

const warning = (page) => page.getByRole('alertdialog', { name: 'Your session is about to end' });

async function openWarning(t) {
  const page = await openLoggedIn(t, demo, { expect: [failedResponse(401, 440)] });
  await page.evaluate(async () => {
    const berth = await import('/berth/session.js');
    berth.configure({ warnBefore: 5 });
    await berth.renew();
  });
  await warning(page).waitFor();
  return page;
}

test('the warning offers a new login, which continues without an interruption', async (t) => {
  const page = await openWarning(t);
  await screenshot(page, 'warning-absolute');
  assert.equal(await page.getByRole('button', { name: 'Stay signed in' }).count(), 0);
  const [cookieBefore] = await cookies(page, 'berth');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Log in again' }).waitFor();
  assert.equal(await warning(page).count(), 0);
  await logInAgain(page, demo.password);
  await dialog(page).waitFor({ state: 'detached' });
  assert.ok((await session(page)).absolute_remaining_s >= 5);
  assert.notDeepEqual(await cookies(page, 'berth'), [cookieBefore]);
});

test('when the warning is dismissed, the session ends and the dialog requests a login', async (t) => {
  const page = await openWarning(t);
  await page.getByRole('button', { name: 'Later' }).click();
  assert.equal(await warning(page).count(), 0);
  await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
  await logInAgain(page, demo.password);
  await dialog(page).waitFor({ state: 'detached' });
  assert.equal((await session(page)).account, 'demo');
});
