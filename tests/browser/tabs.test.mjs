// Several tabs on one session: what is done in one holds in all.

import assert from 'node:assert/strict';
import test from 'node:test';
import { cookies, dialog, logIn, logInAgain, loggedIn, refused, session } from './support/chromium.mjs';
import { ada, demo, endSession, url } from './support/stack.mjs';

const expect = [refused(401, 440)];

/** Two tabs of one browser, each with a call that found the session expired. */
async function waiting(t) {
  const first = await loggedIn(t, demo, { expect });
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

test('a login in one tab closes the dialog in the other, and its call goes on', async (t) => {
  const [first, second] = await waiting(t);
  await logInAgain(first, demo.password);
  await dialog(second).waitFor({ state: 'detached' });
  for (const page of [first, second]) {
    assert.equal(await page.evaluate(() => window.answer), 200);
    assert.equal(await dialog(page).count(), 0);
  }
});

test('another account in another tab: this one goes home, and the other stays logged in', async (t) => {
  const [first, second] = await waiting(t);
  await second.evaluate(() => history.replaceState(null, '', '/?private-of-demo'));
  await first.evaluate(() => sessionStorage.clear());
  // By the login page, as if the module were not there.
  await logIn(first, ada);
  await second.bringToFront();
  await second.evaluate(() => dispatchEvent(new Event('focus')));
  await second.waitForURL(`${url}/`);
  await second.getByText('ada ·').waitFor();
  assert.equal((await session(first)).account, 'ada');
});

test('a logout in one tab takes the others home', async (t) => {
  const first = await loggedIn(t, demo, { expect });
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
