// A Streamlit app in Chromium: its page, a widget and an upload, on one of two servers.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openLoggedIn, profile, screenshot } from '../browser/support/chromium.mjs';
import { hasBerth, publish } from './support/berth.mjs';
import { exampleFiles } from './support/example.mjs';
import { Program } from './support/program.mjs';

const TOOLS = new URL('../../.tools/streamlit/bin', import.meta.url).pathname;

let servers;
before(async () => {
  const folder = exampleFiles('streamlit');
  const start = (_, index) => Program.start(`app-${index}`, folder, '/st/_stcore/health', { tools: [TOOLS] });
  servers = await Promise.all(Array.from({ length: hasBerth ? 2 : 1 }, start));
  await publish(servers);
});

async function openPage(t, name) {
  if (hasBerth) return openLoggedIn(t, { name, password: `${name}-password` });
  const extraHTTPHeaders = { 'x-forwarded-user': name };
  return (await profile(t, { baseURL: servers[0].url, extraHTTPHeaders })).newPage();
}

for (const name of ['ada', 'ben']) {
  test(`${name} opens the app, uses a widget and uploads a file`, async (t) => {
    const page = await openPage(t, name);
    await page.goto('/st/');
    await page.getByText('Twice: 2', { exact: true }).waitFor({ timeout: 60_000 });
    await page.getByLabel('Number').fill('21');
    await page.getByLabel('Number').press('Enter');
    await page.getByText('Twice: 42', { exact: true }).waitFor();
    const buffer = Buffer.alloc(3_000_000, 'berth');
    await page.locator('input[type=file]').setInputFiles({ name: 'file.bin', mimeType: 'application/octet-stream', buffer });
    await page.getByText('Bytes: 3000000', { exact: true }).waitFor({ timeout: 30_000 });
    // The state of the page is the same after the upload: it was the same server.
    await page.getByText('Twice: 42', { exact: true }).waitFor();
    assert.equal(await page.getByText(`Account: ${name}`, { exact: true }).count(), 1);
    await screenshot(page, `streamlit-${name}`);
  });
}
