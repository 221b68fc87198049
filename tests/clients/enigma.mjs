// A real enigma.js client: opens each given path through Berth with a login cookie and makes the first calls of every
// QIX client.
//   node enigma.mjs /app/sales.qvf /doc/session-doc
// BERTH_URL is http://127.0.0.1:8080 by default. Without BERTH_COOKIE (berth=...) it logs in with the account `demo`.
// Prints one JSON line per path.
import { createRequire } from 'node:module';
import WebSocket from 'ws';
import { login } from './login.mjs';

const require = createRequire(import.meta.url);
const enigma = require('enigma.js');
const schema = require('enigma.js/schemas/12.2027.0.json');

const base = process.env.BERTH_URL ?? 'http://127.0.0.1:8080';
const cookie = process.env.BERTH_COOKIE ?? (await login(base, 'demo', 'demo-password'));

for (const path of process.argv.slice(2)) {
  const session = enigma.create({
    schema,
    url: base.replace(/^http/, 'ws') + path,
    createSocket: (url) => new WebSocket(url, { headers: { cookie } }),
  });
  const connected = new Promise((resolve) => session.on('notification:OnConnected', resolve));
  const global = await session.open();
  const { qSessionState } = await connected;
  const { qComponentVersion } = await global.engineVersion();
  const doc = await global.getActiveDoc();
  const layout = await doc.getAppLayout();
  await session.close();
  console.log(JSON.stringify({ path, qSessionState, qComponentVersion, genericId: doc.genericId, title: layout.qTitle }));
}
