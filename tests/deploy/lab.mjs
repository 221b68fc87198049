// Runs what the chart renders, without a cluster: its files with the addresses, ports and paths of this machine, and the
// processes that read them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const WebSocket = createRequire(new URL('../clients/', import.meta.url))('ws');
const PASSWORD = 'a-long-password-of-ada';

async function freePort() {
  const server = createServer();
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

export class Lab {
  constructor(prefix) {
    this.folder = mkdtempSync(join(tmpdir(), prefix));
    this.ports = {};
    this.processes = [];
    this.version = 0;
  }

  async reservePorts() {
    for (const name of ['http', 'admin', 'stats', 'service', 'engine', 'metrics']) this.ports[name] = await freePort();
  }

  start(program, args, env = {}) {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    const started = { child, log: '' };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (started.log += data));
    this.processes.push(started);
    return started;
  }

  async eventually(what, check) {
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
    throw new Error(`${what}: ${last ?? ''}\n${this.processes.map(({ log }) => log.slice(-2000)).join('\n---\n')}`);
  }

  // A rendered file with the addresses, ports and paths of this machine.
  local(text) {
    return text
      .replaceAll('address: 0.0.0.0', 'address: 127.0.0.1')
      .replaceAll('address: berth.berth.svc.cluster.local', 'address: 127.0.0.1')
      .replaceAll('/etc/berth/', `${this.folder}/`)
      .replaceAll('/opt/berth/plugin.wasm', resolve('target/wasm/berth_filter.wasm'))
      .replaceAll('port_value: 8080', `port_value: ${this.ports.http}`)
      .replaceAll('port_value: 9901', `port_value: ${this.ports.admin}`)
      .replaceAll('port_value: 9902', `port_value: ${this.ports.stats}`)
      .replaceAll('port_value: 9455', `port_value: ${this.ports.service}`);
  }

  // Replaces the files of a mounted ConfigMap or Secret as the kubelet does: by a rename of the symbolic link `..data`.
  mount(volume, files) {
    const at = join(this.folder, volume);
    const data = `..${(this.version += 1)}`;
    mkdirSync(join(at, data), { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(at, data, name), text);
      if (!existsSync(join(at, name))) symlinkSync(join('..data', name), join(at, name));
    }
    symlinkSync(data, join(at, '..data_tmp'));
    renameSync(join(at, '..data_tmp'), join(at, '..data'));
  }

  // Starts the service with the configuration in BERTH_CONFIG, and adds the account `ada`.
  async startService(env) {
    const service = `127.0.0.1:${this.ports.service}`;
    this.start('target/quick/berth', ['serve', '--listen', service], env);
    await this.eventually('the service', async () => (await fetch(`http://${service}/health/ready`)).ok);
    const account = spawn('target/quick/berth', ['account', 'add', 'ada', '--role', 'user', '--password-stdin'], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    account.stdin.end(`${PASSWORD}\n`);
    assert.equal(await new Promise((exit) => account.on('exit', exit)), 0);
  }

  // Starts Envoy with the mounted files. `origin` is where clients reach it.
  async startGateway(origin, env) {
    const args = ['--config-path', join(this.folder, 'envoy/envoy.yaml'), '--service-node', 'gateway-0', '--log-level', 'warning', '--disable-hot-restart', '--concurrency', '1'];
    this.start(process.env.ENVOY_PATH ?? '.tools/envoy', args, env);
    await this.eventually('the gateway', async () => (await fetch(`${origin}/berth-ready`)).ok);
  }

  // Logs `ada` in, and returns the cookie.
  async login(origin) {
    const body = new URLSearchParams({ username: 'ada', password: PASSWORD });
    const reply = await fetch(`${origin}/login`, { method: 'POST', body, redirect: 'manual' });
    assert.equal(reply.status, 303, await reply.text());
    return reply.headers.getSetCookie()[0].split(';')[0];
  }

  // Opens a WebSocket. `messages` are those of the engine.
  async open(url, cookie) {
    const socket = new WebSocket(url, { headers: { cookie } });
    const messages = [];
    socket.on('message', (data) => messages.push(JSON.parse(data)));
    await new Promise((opened, failed) => socket.on('open', opened).on('error', failed));
    return { socket, messages };
  }

  async stop() {
    for (const { child } of this.processes) {
      child.kill();
      if (child.exitCode === null) await new Promise((exit) => child.on('exit', exit));
    }
    rmSync(this.folder, { recursive: true });
  }
}
