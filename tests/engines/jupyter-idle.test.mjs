// An open page polls for ever. The stack's idle timeout is a few seconds.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { waitUntil } from '../clients/wait.mjs';
import { openPage, run, startServers } from './support/jupyter.mjs';

before(() => startServers(1));

const status = async ({ account, serverSettings }) => (await account.fetch(`${serverSettings.baseUrl}api/kernels`)).status;

test('a page that only polls lets its session end, and a page that computes keeps it', async (t) => {
  const busy = await openPage(t, 'ben');
  const kernel = await busy.kernels.startNew({ name: 'python3' });
  await run(kernel, 'x = 6');
  const idle = await openPage(t, 'ada');
  assert.equal(await status(idle), 200);
  await waitUntil('the end of the polling session', async () => {
    assert.equal(await run(kernel, 'x*7'), '42');
    return (await status(idle)) !== 200;
  }, 60_000);
  assert.ok([401, 440].includes(await status(idle)));
  assert.equal(await status(busy), 200);
});
