// A real enigma.js client: opens each given path through Berth with a login cookie and asks what every QIX client asks first.
//   BERTH_URL=ws://127.0.0.1:8080 BERTH_COOKIE=berth=... node enigma.mjs /app/sales.qvf ...
// Prints one JSON line per path.
import { createRequire } from 'node:module';
import WebSocket from 'ws';

const require = createRequire(import.meta.url);
const enigma = require('enigma.js');
const schema = require('enigma.js/schemas/12.2027.0.json');

const { BERTH_URL: base, BERTH_COOKIE: cookie } = process.env;

for (const path of process.argv.slice(2)) {
  const session = enigma.create({
    schema,
    url: base + path,
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
