// The stack in front of the engines: tests/e2e/tests/engines.rs starts it with the configuration of an example page, and
// then these tests. Without a stack (no BERTH_URLS), clients connect to an engine itself: such a run shows whether a
// failure is the engine's.

import fs from 'node:fs';
import { waitUntil } from '../../clients/wait.mjs';
import { Account } from './account.mjs';

const urls = JSON.parse(process.env.BERTH_URLS ?? '[]');

/** Whether Berth is in front of the engines. */
export const hasBerth = urls.length > 0;
/** Whether the tests run at full length: `make engines`. */
export const isHeavy = process.env.BERTH_HEAVY === '1';

/** Name and drain of each published engine. */
let published = [];

/** Makes Berth find these engines, and waits until it does. Those in `draining` are drained by their discovery. */
export async function publish(engines, draining = []) {
  published = engines;
  if (!hasBerth) return;
  const list = engines.map((engine) => ({
    name: engine.name, ip: '127.0.0.1', port: engine.port, draining: draining.includes(engine),
  }));
  // A rename replaces the file atomically.
  const file = process.env.BERTH_ENGINES_FILE;
  fs.writeFileSync(`${file}.new`, JSON.stringify({ engines: list }));
  fs.renameSync(`${file}.new`, file);
  const states = list.map(({ name, draining }) => `${name} ${draining ? 'draining' : 'ok'}`).sort();
  await waitUntil(`engines: ${states}`, async () => {
    const seen = (await operator('/v1/engines')).engines.map(({ engine, state }) => `${engine} ${state.replace('no-metrics', 'ok')}`);
    return seen.sort().join() === states.join();
  }, 30_000);
}

/** The response of the service's operator API. */
export async function operator(path, init = {}) {
  const headers = { authorization: `Bearer ${process.env.BERTH_OPERATOR_SECRET}` };
  const reply = await fetch(process.env.BERTH_SERVICE + path, { ...init, headers });
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  return reply.status === 204 ? null : reply.json();
}

/** Kills the placement service and starts it again. */
export async function restartService() {
  const reply = await fetch(`${process.env.BERTH_CONTROL}/service/restart`, { method: 'POST' });
  if (!reply.ok) throw new Error(await reply.text());
}

/** A new login of an account on one of the gateways. Without Berth, the test itself names the account to the engine. */
export function openAccount(name, gateway = 0) {
  if (!hasBerth) return new Account(published[0].url, { 'x-forwarded-user': name });
  return new Account(urls[gateway]).logIn(name, `${name}-password`);
}
