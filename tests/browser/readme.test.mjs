// Runs the example of the browser module's README unchanged, in a page with the strictest policy that permits it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { cookies, dialog, logInAgain, loggedIn, refused, socketFailed, until } from './support/chromium.mjs';
import { demo, endSession } from './support/stack.mjs';

const README = new URL('../../placement-service/assets/berth/README.md', import.meta.url);
const MODULE = new URL('../../placement-service/assets/berth/session.js', import.meta.url);

/** The page, and its example. */
function section() {
  const text = fs.readFileSync(README, 'utf8');
  return { text, example: text.split('```js\n')[1].split('```')[0] };
}

test('the example works, also after the session has ended', async (t) => {
  const page = await loggedIn(t, demo, { expect: [refused(401, 440), socketFailed] });
  await page.route('**/example', (route) => route.fulfill({
    contentType: 'text/html',
    headers: { 'content-security-policy': "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:" },
    body: '<!doctype html><title>Example</title><link rel="icon" href="data:,"><script type="module" src="/example.js"></script>',
  }));
  await page.route('**/example.js', (route) => route.fulfill({ contentType: 'text/javascript', body: section().example }));
  const said = [];
  page.on('console', (message) => said.push(message.text()));
  await page.goto('/example');
  await until('it has run', () => said.some((text) => text.includes('OnConnected')) && said.some((text) => / s left$/.test(text)));
  assert.ok(said.includes('demo') && said.includes('open'), said.join());

  await endSession((await cookies(page, 'berth'))[0]);
  said.length = 0;
  await page.reload();
  await dialog(page).waitFor();
  await until('the callback is called', () => said.includes('demo is asked to log in again'));
  await logInAgain(page, demo.password);
  await until('the socket is open', () => said.includes('open'));
  assert.ok(said.includes('demo'));
});

test('the README names every export', () => {
  const exported = fs.readFileSync(MODULE, 'utf8').matchAll(/^export function (\w+)/gm);
  const told = section().text.matchAll(/^\| `(\w+)\(/gm);
  const names = (matches) => Array.from(matches, ([, name]) => name).sort();
  assert.deepEqual(names(told), names(exported));
});
