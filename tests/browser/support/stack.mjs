// The addresses of the running stack, from the environment. tests/e2e/tests/browser.rs starts it, and then these
// tests.

function requireVariable(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests by \`tests/setup/test.sh browser\``);
  return value;
}

/** Envoy's address, for browsers. */
export const url = requireVariable('BERTH_URL');
/** The application behind `/api/`, without Envoy. */
const app = requireVariable('BERTH_APP');
const engines = JSON.parse(requireVariable('BERTH_ENGINES'));
export const demo = { name: 'demo', password: 'demo-password' };
export const ada = { name: 'ada', password: 'ada-password' };

/** Number of requests that reached the application, by request line. */
export async function requestCounts() {
  return (await fetch(`${app}/seen`)).json();
}

/**
 * Ends a login session on the server and waits until the gateway has the event: a cached token is valid until then,
 * for up to a second. The browser that has the cookie is not notified.
 */
export async function endSession(id) {
  const headers = { cookie: `berth=${id}` };
  const reply = await fetch(`${url}/logout`, { method: 'POST', headers });
  if (!reply.ok) throw new Error(`logout: ${reply.status}`);
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    if (!(await fetch(`${url}/api/whoami`, { headers })).ok) return;
  }
  throw new Error('the session is valid after its end');
}

/** Sets faults of an engine. An engine that dies does not respond. */
export async function fault(engine, faults) {
  const body = JSON.stringify(faults);
  const request = fetch(`${engines[engine]}/admin/faults`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  if (faults.die) return request.then(() => {}, () => {});
  if (!(await request).ok) throw new Error(`faults of engine ${engine}`);
}

/** An engine's counters; `null` when it is dead. */
export async function stats(engine) {
  return fetch(`${engines[engine]}/admin/stats`).then((reply) => reply.json(), () => null);
}

/** Envoy's counters and gauges. */
export async function envoyStats() {
  const text = await (await fetch(`${requireVariable('BERTH_ADMIN')}/stats`)).text();
  const lines = text.split('\n').map((line) => line.split(': '));
  return Object.fromEntries(lines.map(([name, value]) => [name, Number(value)]));
}
