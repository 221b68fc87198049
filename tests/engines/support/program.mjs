// Engines as processes. Each leads a process group of its own, because kernels and terminals are children of their
// engine. All end with the test file, also if that is killed.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { after } from 'node:test';
import { waitUntil } from '../../clients/wait.mjs';

const running = new Set();
after(() => Promise.all([...running].map((program) => program.kill())));

/** A port that is free at this moment. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Program {
  /**
   * Starts `engine.sh` of an example in its folder, and waits until `readyPath` responds. `tools` precede PATH.
   * The environment has the free port as PORT.
   */
  static async start(name, folder, readyPath, { tools = [], env = {}, args = [], port } = {}) {
    const program = new Program();
    program.name = name;
    program.port = port ?? (await freePort());
    program.url = `http://127.0.0.1:${program.port}`;
    program.log = `${folder}/${name}.log`;
    const log = fs.openSync(program.log, 'a');
    program.child = spawn('setpriv', ['--pdeathsig', 'KILL', 'bash', 'engine.sh', ...args], {
      cwd: folder,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, HOME: folder, ...env, PORT: String(program.port), PATH: [...tools, process.env.PATH].join(':') },
    });
    fs.closeSync(log);
    program.ended = once(program.child, 'exit').then(() => running.delete(program));
    running.add(program);
    const isReady = async () => {
      if (!running.has(program)) throw new Error(`${name} ended: ${program.output()}`);
      return fetch(program.url + readyPath).then((reply) => reply.ok, () => false);
    };
    await waitUntil(`${name} is ready`, isReady, 60_000).catch((error) => {
      throw new Error(`${error.message}\n${program.output()}`);
    });
    return program;
  }

  output() {
    return fs.readFileSync(this.log, 'utf8').split('\n').slice(-30).join('\n');
  }

  /** Sends a signal to the engine and its children. */
  signal(name) {
    try {
      process.kill(-this.child.pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  /** Kills it at once (kill -9). */
  async kill() {
    this.signal('SIGKILL');
    await this.ended;
  }

  /** Ends it with SIGTERM, as an orchestrator does, and waits until it has ended. */
  async terminate() {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}
