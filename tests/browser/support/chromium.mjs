// Real Chromium: one process per test file, and one new profile per visit. A visit fails its test when the page
// throws or logs an error that the test does not expect.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { url } from './stack.mjs';

export { waitUntil } from '../../clients/wait.mjs';

const EXECUTABLE = process.env.BERTH_CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Routed pages of a test have no address, so Chromium would block their connections to this machine.
  '--disable-features=LocalNetworkAccessChecks',
];
/** Chromium's console message for an unsuccessful response. */
export const failedResponse = (...statuses) => new RegExp(`^Failed to load resource: .* status of (${statuses.join('|')})`);
/** Chromium's console message for a WebSocket that was rejected or reset. */
export const failedSocket = /^WebSocket connection to .* failed/;

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: EXECUTABLE, args: ARGS });
});
after(() => browser?.close());

/** A new profile. `expect` are patterns of permitted console errors. It is closed by `t.after`. */
export async function profile(t, { expect = [], ...options } = {}) {
  const context = await browser.newContext({ baseURL: url, ...options });
  const errors = [];
  context.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && !expect.some((pattern) => pattern.test(text))) errors.push(text);
  });
  context.on('weberror', (error) => errors.push(String(error.error().stack)));
  context.setDefaultTimeout(10_000);
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, [], 'the console shows errors');
  });
  return context;
}

/** A page of a new profile, logged in with the login page. */
export async function openLoggedIn(t, account, options) {
  const context = await profile(t, options);
  const page = await context.newPage();
  await logIn(page, account);
  return page;
}

/** Logs in with the login page. */
export async function logIn(page, account, returnTo = '/') {
  await page.goto(`/login?return_to=${encodeURIComponent(returnTo)}`);
  await page.getByLabel('Name').fill(account.name);
  await page.getByLabel('Password').fill(account.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText(`${account.name} ·`).waitFor();
}

/** Values of the cookies with that name. */
export async function cookies(page, name) {
  const all = await page.context().cookies();
  return all.filter((cookie) => cookie.name === name).map((cookie) => cookie.value);
}

/** The session that the page has: the result of the module's `session()`. */
export function session(page) {
  return page.evaluate(async () => (await import('/berth/session.js')).session());
}

/** The page's only open dialog. */
export const dialog = (page) => page.getByRole('dialog');

/** Fills in the password and logs in. */
export async function logInAgain(page, password) {
  await dialog(page).getByLabel('Password').fill(password);
  await dialog(page).getByRole('button', { name: 'Log in' }).click();
}

/** A screenshot for the reader of the test results. */
export async function screenshot(page, name) {
  const folder = process.env.BERTH_SCREENSHOTS;
  if (!folder) return;
  fs.mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png` });
}
