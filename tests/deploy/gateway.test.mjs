// The files that the chart renders for the gateway run: real Envoy with the built filter, the placement service and a
// simulated engine. Only addresses, ports and paths are replaced.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { CHART, file, render } from './chart.mjs';

// The certificates of this test have no authority.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const WebSocket = createRequire(new URL('../clients/', import.meta.url))('ws');
const TOKEN_KEY = 'a-token-key-of-at-least-32-bytes-for-this-test';
const GATEWAY_SECRET = 'a-gateway-secret-for-this-test';

const folder = mkdtempSync(join(tmpdir(), 'gateway-'));
const processes = [];
const ports = {};

async function freePort() {
  const server = createServer();
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

function start(program, args, env = {}) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const started = { child, log: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (started.log += data));
  processes.push(started);
  return started;
}

async function eventually(what, check) {
  const deadline = Date.now() + 60_000;
  let last;
  while (Date.now() < deadline) {
    try {
      const result = await check();
      if (result) return result;
    } catch (error) {
      last = error;
    }
    await new Promise((next) => setTimeout(next, 50));
  }
  throw new Error(`${what}: ${last ?? ''}\n${processes.map(({ log }) => log.slice(-2000)).join('\n---\n')}`);
}

// The rendered file with the addresses, ports and paths of this test.
function local(text) {
  return text
    .replaceAll('address: 0.0.0.0', 'address: 127.0.0.1')
    .replaceAll('address: berth.berth.svc.cluster.local', 'address: 127.0.0.1')
    .replaceAll('/etc/berth/', `${folder}/`)
    .replaceAll('/opt/berth/plugin.wasm', resolve('target/wasm/berth_filter.wasm'))
    .replaceAll('port_value: 8080', `port_value: ${ports.http}`)
    .replaceAll('port_value: 9901', `port_value: ${ports.admin}`)
    .replaceAll('port_value: 9902', `port_value: ${ports.stats}`)
    .replaceAll('port_value: 9455', `port_value: ${ports.service}`);
}

// Replaces the files of a mounted ConfigMap or Secret as the kubelet does: by a rename of the symbolic link `..data`.
let version = 0;
function mount(volume, files) {
  const at = join(folder, volume);
  const data = `..${(version += 1)}`;
  mkdirSync(join(at, data), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(at, data, name), text);
    if (!existsSync(join(at, name))) symlinkSync(join('..data', name), join(at, name));
  }
  symlinkSync(data, join(at, '..data_tmp'));
  renameSync(join(at, '..data_tmp'), join(at, '..data'));
}

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
  for (const name of ['http', 'admin', 'stats', 'service', 'engine', 'metrics']) ports[name] = await freePort();
  const manifests = render('--set', 'gateway.tls.existingSecret=berth-tls');
  mount('envoy', { 'envoy.yaml': local(file(manifests, 'envoy.yaml')), 'certificate.yaml': local(file(manifests, 'certificate.yaml')) });
  mount('filter', { 'filter.yaml': local(file(manifests, 'filter.yaml')) });
  mount('tls', certificate('first.example'));
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
  start('target/quick/engine-sim', [...engine, '--jwt-secret', TOKEN_KEY, '--document', 'sales.qvf=10']);
  start('target/quick/berth', ['serve', '--listen', `127.0.0.1:${ports.service}`], env);
  await eventually('the service', async () => (await fetch(`http://127.0.0.1:${ports.service}/health/ready`)).ok);
  const account = spawn('target/quick/berth', ['account', 'add', 'ada', '--role', 'user', '--password-stdin'], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  account.stdin.end('a-long-password-of-ada\n');
  assert.equal(await new Promise((exit) => account.on('exit', exit)), 0);
  start(
    process.env.ENVOY_PATH ?? '.tools/envoy',
    ['--config-path', join(folder, 'envoy/envoy.yaml'), '--service-node', 'gateway-0', '--log-level', 'warning', '--disable-hot-restart', '--concurrency', '1'],
    env,
  );
  await eventually('the gateway', async () => (await fetch(`https://127.0.0.1:${ports.http}/berth-ready`)).ok);
});

after(async () => {
  for (const { child } of processes) {
    child.kill();
    if (child.exitCode === null) await new Promise((exit) => child.on('exit', exit));
  }
  rmSync(folder, { recursive: true });
});

async function login() {
  const body = new URLSearchParams({ username: 'ada', password: 'a-long-password-of-ada' });
  const reply = await fetch(`https://127.0.0.1:${ports.http}/login`, { method: 'POST', body, redirect: 'manual' });
  assert.equal(reply.status, 303, await reply.text());
  return reply.headers.getSetCookie()[0].split(';')[0];
}

async function open(cookie) {
  const socket = new WebSocket(`wss://127.0.0.1:${ports.http}/app/sales.qvf`, { headers: { cookie } });
  const messages = [];
  socket.on('message', (data) => messages.push(JSON.parse(data)));
  await new Promise((opened, failed) => socket.on('open', opened).on('error', failed));
  return { socket, messages };
}

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
  mount('filter', { 'filter.yaml': local(changed) });
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
  mount('tls', certificate('second.example'));
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
