// Runs the example of the browser module's README unchanged, in a page with the strictest policy that permits it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { cookies, dialog, logInAgain, openLoggedIn, failedResponse, failedSocket, waitUntil } from './support/chromium.mjs';
import { demo, endSession } from './support/stack.mjs';

const README = new URL('../../placement-service/assets/berth/README.md', import.meta.url);
const MODULE = new URL('../../placement-service/assets/berth/session.js', import.meta.url);

/** The page, and its example. */
function readReadme() {
  const text = fs.readFileSync(README, 'utf8');
  return { text, example: text.split('```js\n')[1].split('```')[0] };
}

test('the example works, also after the session has ended', async (t) => {
  const page = await openLoggedIn(t, demo, { expect: [failedResponse(401, 440), failedSocket] });
  await page.route('**/example', (route) => route.fulfill({
    contentType: 'text/html',
    headers: { 'content-security-policy': "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:" },
    body: '<!doctype html><title>Example</title><link rel="icon" href="data:,"><script type="module" src="/example.js"></script>',
  }));
  await page.route('**/example.js', (route) => route.fulfill({ contentType: 'text/javascript', body: readReadme().example }));
  const logged = [];
  page.on('console', (message) => logged.push(message.text()));
  await page.goto('/example');
  await waitUntil('it has run', () => logged.some((text) => text.includes('OnConnected')) && logged.some((text) => / s left$/.test(text)));
  assert.ok(logged.includes('demo') && logged.includes('open'), logged.join());

  await endSession((await cookies(page, 'berth'))[0]);
  logged.length = 0;
  await page.reload();
  await dialog(page).waitFor();
  await waitUntil('the callback is called', () => logged.includes('demo is asked to log in again'));
  await logInAgain(page, demo.password);
  await waitUntil('the socket is open', () => logged.includes('open'));
  assert.ok(logged.includes('demo'));
});

test('the README names every export', () => {
  const source = fs.readFileSync(MODULE, 'utf8');
  const functions = Array.from(source.matchAll(/^export function (\w+)/gm), ([, name]) => name);
  const lists = Array.from(source.matchAll(/^export \{([^}]*)\}/gm), ([, list]) => list.split(',').map((name) => name.trim()));
  const rows = readReadme().text.split('\n').filter((line) => line.startsWith('| `'));
  const documented = rows.flatMap((row) => Array.from(row.split(' | ')[0].matchAll(/`(\w+)\(/g), ([, name]) => name));
  assert.deepEqual(documented.sort(), [...functions, ...lists.flat()].sort());
});
