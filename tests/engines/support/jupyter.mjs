// Jupyter servers, and the client library of JupyterLab with the login of an account.

import { createRequire } from 'node:module';
import { hasBerth, openAccount, publish } from './berth.mjs';
import { exampleFiles } from './example.mjs';
import { Program } from './program.mjs';

const require = createRequire(import.meta.url);
const { ContentsManager, KernelManager, ServerConnection, TerminalManager } = require('@jupyterlab/services');
// The page of JupyterLab says so, too.
require('@jupyterlab/coreutils').PageConfig.setOption('terminalsAvailable', 'true');

const TOOLS = new URL('../../../.tools/jupyter/bin', import.meta.url).pathname;
export const BASE = '/jup/';

/** Starts servers with the files of the page and publishes them. Without Berth, one. */
export async function startServers(count) {
  const start = (_, index) => startServer(`lab-${index}`);
  const servers = await Promise.all(Array.from({ length: hasBerth ? count : 1 }, start));
  await publish(servers);
  return servers;
}

export function startServer(name, port) {
  // The tests may run as root, which Jupyter refuses otherwise.
  return Program.start(name, exampleFiles('jupyter'), `${BASE}api`, { tools: [TOOLS], args: ['--allow-root'], port });
}

/** The managers of a page of an account. Their timers end with the test. */
export async function openPage(t, name, gateway = 0) {
  const account = await openAccount(name, gateway);
  // The cookie `_xsrf` comes with the page.
  const page = await account.fetch(account.url + BASE);
  if (!page.ok) throw new Error(`page: ${page.status} ${await page.text()}`);
  const serverSettings = ServerConnection.makeSettings({
    baseUrl: account.url + BASE,
    appendToken: false,
    fetch: (request) => {
      request.headers.set('x-xsrftoken', account.cookie('_xsrf'));
      return account.fetch(request);
    },
    WebSocket: account.WebSocket,
  });
  const managers = {
    kernels: new KernelManager({ serverSettings }),
    terminals: new TerminalManager({ serverSettings }),
    contents: new ContentsManager({ serverSettings }),
  };
  t.after(() => Object.values(managers).forEach((manager) => manager.dispose()));
  return { account, serverSettings, ...managers };
}

/** The ids of the running kernels. */
export async function kernelIds({ kernels }) {
  await kernels.refreshRunning();
  return [...kernels.running()].map((kernel) => kernel.id);
}

/** Runs code in a kernel and returns what it prints. */
export async function run(kernel, code) {
  const future = kernel.requestExecute({ code });
  let printed = '';
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === 'stream') printed += content.text;
    if (header.msg_type === 'execute_result') printed += content.data['text/plain'];
  };
  const reply = await future.done;
  if (reply.content.status !== 'ok') throw new Error(`${code}: ${JSON.stringify(reply.content)}`);
  return printed.trim();
}
