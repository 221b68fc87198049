// What a Jupyter page sees when parts of the stack fail, and when its account logs out.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { waitUntil } from '../clients/wait.mjs';
import { publish, restartService } from './support/berth.mjs';
import { BASE, kernelIds, openPage, run, startServer, startServers } from './support/jupyter.mjs';

let servers;
before(async () => {
  servers = await startServers(2);
});

/** The server on which a kernel runs. */
async function serverOf(kernel) {
  for (const server of servers) {
    const reply = await fetch(`${server.url}${BASE}api/kernels`, { headers: { 'x-forwarded-user': 'test' } });
    if ((await reply.json()).some(({ id }) => id === kernel.id)) return server;
  }
  throw new Error(`kernel ${kernel.id} is on no server`);
}

const isClosed = (kernel) => waitUntil('the kernel socket is closed', () => kernel.connectionStatus !== 'connected');

test('sockets and kernels outlive a restart of the placement service', async (t) => {
  const page = await openPage(t, 'ada');
  const kernel = await page.kernels.startNew({ name: 'python3' });
  await run(kernel, 'x = 6');
  const statuses = [];
  kernel.connectionStatusChanged.connect((_, status) => statuses.push(status));
  await restartService();
  assert.equal(await run(kernel, 'x*7'), '42');
  assert.deepEqual(statuses, []);
  assert.deepEqual(await kernelIds(await openPage(t, 'ada', 1)), [kernel.id]);
  await kernel.shutdown();
});

test('a cell runs on after the logout, and its result is there after the next login', async (t) => {
  const page = await openPage(t, 'ada');
  const kernel = await page.kernels.startNew({ name: 'python3', path: '' });
  await run(kernel, 'import pathlib, time');
  const busy = new Promise((resolve) => {
    kernel.statusChanged.connect((_, status) => status === 'busy' && resolve());
  });
  const cell = kernel.requestExecute({ code: 'while not pathlib.Path("go").exists(): time.sleep(0.05)\nx = 6*7' });
  cell.done.catch(() => {});
  await busy;
  await page.account.logOut();
  await isClosed(kernel);
  const refused = await page.account.fetch(`${page.serverSettings.baseUrl}api/kernels`);
  assert.ok([401, 440].includes(refused.status), `${refused.status}`);
  kernel.dispose();

  const next = await openPage(t, 'ada');
  assert.deepEqual(await kernelIds(next), [kernel.id]);
  const same = next.kernels.connectTo({ model: { id: kernel.id, name: 'python3' } });
  await next.contents.save('go', { type: 'file', format: 'text', content: '' });
  assert.equal(await run(same, 'x'), '42');
  await next.contents.delete('go');
  await same.shutdown();
});

test('the accounts of a killed server get another one, and others notice nothing', async (t) => {
  const [ada, ben] = [await openPage(t, 'ada'), await openPage(t, 'ben')];
  const kernel = await ada.kernels.startNew({ name: 'python3' });
  const other = await ben.kernels.startNew({ name: 'python3' });
  const [killed, spared] = [await serverOf(kernel), await serverOf(other)];
  assert.notEqual(killed.name, spared.name, 'two accounts use two servers');
  await run(other, 'x = 6');
  await killed.kill();
  await isClosed(kernel);
  kernel.dispose();

  const api = `${ada.serverSettings.baseUrl}api/kernels`;
  const reply = await ada.account.fetch(api);
  assert.equal(reply.status, 503);
  assert.equal((await reply.json()).reason, 'engine-failed');
  assert.ok(Number(reply.headers.get('retry-after')) > 0);
  await waitUntil('another server', async () => (await ada.account.fetch(api)).ok, 60_000);
  const moved = await openPage(t, 'ada');
  const replacement = await moved.kernels.startNew({ name: 'python3' });
  assert.equal(await run(replacement, '6*7'), '42');
  assert.equal((await serverOf(replacement)).name, spared.name);
  assert.equal(await run(other, 'x*7'), '42');

  // The account stays where it is when the first server returns.
  const returned = await startServer(killed.name, killed.port);
  servers = servers.map((server) => (server === killed ? returned : server));
  await publish(servers);
  assert.ok((await kernelIds(moved)).includes(replacement.id));
});
