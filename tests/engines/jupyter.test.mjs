// Two Jupyter servers, one per account, as the example page configures them.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { waitUntil } from '../clients/wait.mjs';
import { hasBerth } from './support/berth.mjs';
import { kernelIds, openPage, run, startServers } from './support/jupyter.mjs';

before(() => startServers(2));

test('a kernel computes, and every request of the account reaches its server', async (t) => {
  const page = await openPage(t, 'ada');
  const kernel = await page.kernels.startNew({ name: 'python3' });
  assert.equal(await run(kernel, '6*7'), '42');
  for (let times = 0; times < 20; times += 1) assert.deepEqual(await kernelIds(page), [kernel.id]);
  // Another login, by another gateway where there is one.
  const other = await openPage(t, 'ada', hasBerth ? 1 : 0);
  assert.deepEqual(await kernelIds(other), [kernel.id]);
  const same = other.kernels.connectTo({ model: kernel.model });
  await run(kernel, 'x = 43');
  assert.equal(await run(same, 'x'), '43');
  await kernel.shutdown();
});

test('contents go up and come down', async (t) => {
  const { contents, account, serverSettings } = await openPage(t, 'ada');
  const content = 'line äöü\n'.repeat(200_000);
  await contents.save('notes with blank.txt', { type: 'file', format: 'text', content });
  assert.equal((await contents.get('notes with blank.txt')).content, content);
  // A part of the file, and only its head.
  const file = `${serverSettings.baseUrl}files/notes%20with%20blank.txt`;
  const part = await account.fetch(file, { headers: { range: 'bytes=5-10' } });
  assert.equal(part.status, 206);
  assert.equal(await part.text(), 'äöü');
  const head = await account.fetch(file, { method: 'HEAD' });
  assert.equal(head.status, 200);
  await contents.delete('notes with blank.txt');
});

test('a terminal runs a command', async (t) => {
  const { terminals } = await openPage(t, 'ada');
  const terminal = await terminals.startNew();
  let shown = '';
  terminal.messageReceived.connect((_, { type, content }) => {
    if (type === 'stdout') shown += content[0];
  });
  terminal.send({ type: 'stdin', content: ['echo $((6*7))-shown\r'] });
  await waitUntil('the terminal shows the result', () => shown.includes('42-shown'));
  await terminal.shutdown();
});
