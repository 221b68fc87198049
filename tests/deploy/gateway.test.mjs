// The files that the chart renders for the gateway run: real Envoy with the built filter, the placement service and a
// simulated engine. Only addresses, ports and paths are replaced.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { CHART, file, render } from './chart.mjs';
import { Lab } from './lab.mjs';

// The certificates of this test have no authority.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const TOKEN_KEY = 'a-token-key-of-at-least-32-bytes-for-this-test';
const GATEWAY_SECRET = 'a-gateway-secret-for-this-test';

const lab = new Lab('gateway-');
const { folder, ports } = lab;
const eventually = (what, check) => lab.eventually(what, check);

// A certificate for this name, and its key.
function certificate(name) {
  const [key, crt] = [join(folder, 'new.key'), join(folder, 'new.crt')];
  const options = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  execFileSync('openssl', ['req', ...options, '-subj', `/CN=${name}`, '-keyout', key, '-out', crt], { stdio: 'pipe' });
  return { 'tls.key': readFileSync(key, 'utf8'), 'tls.crt': readFileSync(crt, 'utf8') };
}

// The name in the certificate of the listener.
async function servedName() {
  const socket = connect({ port: ports.http, host: '127.0.0.1', rejectUnauthorized: false, servername: 'localhost' });
  await new Promise((secure, failed) => socket.on('secureConnect', secure).on('error', failed));
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
}

before(async () => {
  await lab.reservePorts();
  const manifests = render('--set', 'gateway.tls.existingSecret=berth-tls');
  lab.mount('envoy', { 'envoy.yaml': lab.local(file(manifests, 'envoy.yaml')), 'certificate.yaml': lab.local(file(manifests, 'certificate.yaml')) });
  lab.mount('filter', { 'filter.yaml': lab.local(file(manifests, 'filter.yaml')) });
  lab.mount('tls', certificate('first.example'));
  // The default configuration, with a store, a ledger and a discovery for one machine.
  const config = readFileSync(`${CHART}/files/berth.yaml`, 'utf8')
    .replace(/^store: .*$/m, `store: { kind: sqlite, path: ${folder}/berth.db }`)
    .replace(/^placement:\n.*$/m, '')
    .replace(
      /discovery: .*$/m,
      `discovery: { static: [ { name: engine-0, ip: 127.0.0.1, port: ${ports.engine}, metrics_port: ${ports.metrics} } ] }`,
    );
  writeFileSync(join(folder, 'berth.yaml'), config);
  const env = {
    BERTH_CONFIG: join(folder, 'berth.yaml'),
    BERTH_TOKEN_KEY: TOKEN_KEY,
    BERTH_GATEWAY_SECRET: GATEWAY_SECRET,
    BERTH_OPS_SECRET: 'an-operator-secret-for-this-test',
  };
  const engine = ['--api', `127.0.0.1:${ports.engine}`, '--metrics', `127.0.0.1:${ports.metrics}`];
  lab.start('target/quick/engine-sim', [...engine, '--jwt-secret', TOKEN_KEY, '--document', 'sales.qvf=10']);
  await lab.startService(env);
  await lab.startGateway(`https://127.0.0.1:${ports.http}`, env);
});

after(() => lab.stop());

const login = () => lab.login(`https://127.0.0.1:${ports.http}`);
const open = (cookie) => lab.open(`wss://127.0.0.1:${ports.http}/app/sales.qvf`, cookie);

async function metrics() {
  const reply = await fetch(`http://127.0.0.1:${ports.stats}/stats/prometheus`);
  assert.equal(reply.status, 200);
  return reply.text();
}

test('a logged-in user gets a WebSocket, and a change of the ConfigMap keeps it', async () => {
  const cookie = await login();
  assert.match(cookie, /^__Host-berth=/);
  const { socket, messages } = await open(cookie);
  await eventually('the first message', () => messages.some(({ method }) => method === 'OnConnected'));
  const reloads = async () => Number((await metrics()).match(/http_filter_berth_config_reload\{\} (\d+)/)[1]);
  const changed = file(render(), 'filter.yaml').replaceAll('/logout', '/bye').replace(/version_info: .*/, 'version_info: changed');
  const reloadsBefore = await reloads();
  lab.mount('filter', { 'filter.yaml': lab.local(changed) });
  await eventually('the reload', async () => (await reloads()) > reloadsBefore);
  const reply = await fetch(`https://127.0.0.1:${ports.http}/logout`, { method: 'POST', headers: { cookie } });
  assert.equal(reply.status, 404);
  assert.equal((await reply.json()).reason, 'no-route');
  socket.send(JSON.stringify({ jsonrpc: '2.0', id: 7, handle: -1, method: 'EngineVersion', params: [] }));
  await eventually('an answer on the open socket', () => messages.some(({ id }) => id === 7));
  socket.close();
});

test('a renewed certificate is served without a restart', async () => {
  assert.equal(await servedName(), 'first.example');
  lab.mount('tls', certificate('second.example'));
  await eventually('the renewed certificate', async () => (await servedName()) === 'second.example');
});

test('without a session there is no WebSocket', async () => {
  await assert.rejects(open('__Host-berth=invented'), /401/);
});

test('secrets are not in the configuration that Envoy shows', async () => {
  const dump = await (await fetch(`http://127.0.0.1:${ports.admin}/config_dump`)).text();
  assert.match(dump, /BERTH_GATEWAY_SECRET/);
  for (const secret of [TOKEN_KEY, GATEWAY_SECRET]) assert.ok(!dump.includes(secret));
});

test('the listener of metrics has nothing else of the admin port', async () => {
  assert.match(await metrics(), /^berth_requests\{/m);
  for (const path of ['/', '/config_dump', '/stats', '/quitquitquit', '/logging']) {
    for (const method of ['GET', 'POST']) {
      const reply = await fetch(`http://127.0.0.1:${ports.stats}${path}`, { method });
      assert.equal(reply.status, 404, `${method} ${path}`);
    }
  }
});
