// Reads the image archives of `make images`, and runs an image with runc in network and process namespaces of its own.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const IMAGES = new URL('../../target/images/', import.meta.url).pathname;

export const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 });

/** An unpacked archive: its manifest, its configuration and the files of its layers. */
export class Archive {
  constructor(name) {
    this.layout = mkdtempSync(join(tmpdir(), 'berth-image-'));
    run('tar', '-xf', join(IMAGES, `${name}.tar`), '-C', this.layout);
    const index = JSON.parse(readFileSync(join(this.layout, 'index.json')));
    if (index.manifests.length !== 1) throw new Error(`${name} contains ${index.manifests.length} images`);
    this.tag = index.manifests[0].annotations['org.opencontainers.image.ref.name'];
    this.manifest = JSON.parse(this.blob(index.manifests[0].digest));
    this.config = JSON.parse(this.blob(this.manifest.config.digest));
  }

  path(digest) {
    return join(this.layout, 'blobs', ...digest.split(':'));
  }

  blob(digest) {
    return readFileSync(this.path(digest));
  }

  /** Mode, owner, size, time and path of each file of a layer. */
  files(layer) {
    const list = run('tar', '-tvzf', this.path(layer.digest), '--numeric-owner', '--full-time', '--utc');
    return list
      .trim()
      .split('\n')
      .map((line) => {
        const [mode, owner, size, date, time, ...path] = line.split(/\s+/);
        return { mode, owner, size: Number(size), time: Date.parse(`${date}T${time}Z`) / 1000, path: path.join(' ') };
      });
  }

  remove() {
    rmSync(this.layout, { recursive: true });
  }
}

/** A container of an image: the image's own user, command, environment and working folder. Its root is read-only. */
export class Container {
  /** `change` receives the runtime's configuration. Folders in `writable` belong to the user of the image. */
  constructor(archive, { writable = {}, change = () => {} }) {
    this.bundle = mkdtempSync(join(tmpdir(), 'berth-bundle-'));
    run('umoci', 'unpack', '--image', `${archive.layout}:${archive.tag}`, join(this.bundle, 'b'));
    const file = join(this.bundle, 'b', 'config.json');
    const config = JSON.parse(readFileSync(file));
    config.root.readonly = true;
    config.process.terminal = false;
    config.process.noNewPrivileges = true;
    config.process.capabilities = {};
    // The host manages control groups and may not allow new ones.
    config.mounts = config.mounts.filter((mount) => !mount.type.startsWith('cgroup'));
    config.linux.namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type }));
    delete config.linux.resources;
    for (const [path, source] of Object.entries(writable)) {
      config.mounts.push({ destination: path, type: 'bind', source, options: ['rbind', 'rw', 'nosuid', 'nodev', 'noexec'] });
    }
    change(config);
    writeFileSync(file, JSON.stringify(config));
    this.root = join(this.bundle, 'b', 'rootfs');
    this.name = `berth-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
    this.output = '';
  }

  start() {
    this.child = spawn('runc', ['run', '--bundle', join(this.bundle, 'b'), this.name]);
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (data) => (this.output += data));
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
  }

  /** Waits for a text in the output. */
  async says(text, seconds = 60) {
    const end = Date.now() + seconds * 1000;
    while (!this.output.includes(text)) {
      if (this.child.exitCode !== null || Date.now() > end) throw new Error(`it did not print "${text}":\n${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The process id of its first process, outside of the container. */
  get pid() {
    return JSON.parse(run('runc', 'state', this.name)).pid;
  }

  /** Runs a program of this machine in the network of the container. */
  inNetwork(...command) {
    return run('nsenter', '--target', String(this.pid), '--net', ...command);
  }

  /** Runs a program of the image in the container, as its user. Returns its output. */
  exec(...command) {
    return run('runc', 'exec', this.name, ...command);
  }

  /** Sends SIGTERM to the first process. Returns its exit code. */
  async terminate() {
    run('runc', 'kill', this.name, 'TERM');
    return this.ended;
  }

  async remove() {
    if (this.child && this.child.exitCode === null) {
      try {
        run('runc', 'kill', this.name, 'KILL');
      } catch {
        // It has ended meanwhile.
      }
      await this.ended;
    }
    rmSync(this.bundle, { recursive: true });
  }
}
