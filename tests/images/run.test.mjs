// The images run as they are: as their own user, with a read-only root and without capabilities.
import assert from 'node:assert/strict';
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Archive, Container } from './support.mjs';

const USER = 65532;
const CONFIG = `
log: { format: text }
tokens: { key: { inline: a-key-of-at-least-thirty-two-bytes } }
session: { cookie: { secure: false } }
`;

/** A folder of this machine that belongs to the user of the images. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'berth-data-'));
  chownSync(path, USER, USER);
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function container(t, name, options) {
  const archive = new Archive(name);
  const made = new Container(archive, options);
  archive.remove();
  t.after(() => made.remove());
  return made;
}

const userOf = (pid) => readFileSync(`/proc/${pid}/status`, 'utf8').match(/^Uid:\s+(.*)$/m)[1];

test('berth starts, answers, is not root, and writes to its data folder only', async (t) => {
  const data = folder(t);
  const berth = container(t, 'berth', { writable: { '/var/lib/berth': data } });
  mkdirSync(join(berth.root, 'etc/berth'));
  writeFileSync(join(berth.root, 'etc/berth/berth.yaml'), CONFIG);
  berth.start();
  await berth.says('listening http=127.0.0.1:9455');
  assert.equal(berth.inNetwork('curl', '-sf', 'http://127.0.0.1:9455/health/ready'), '{"ready":true,"store":true,"fleet":true}');
  assert.match(berth.exec('/berth', 'health'), /"ready":true/);
  const added = berth.exec('berth', 'account', 'ls');
  assert.equal(added, '');
  assert.equal(userOf(berth.pid), [USER, USER, USER, USER].join('\t'));
  assert.match(readFileSync(`/proc/${berth.pid}/status`, 'utf8'), /^CapEff:\s+0+$/m);
  const written = readdirSync(data).toSorted();
  assert.deepEqual(written, ['berth.db', 'berth.db-shm', 'berth.db-wal']);
  assert.equal(await berth.terminate(), 0, berth.output);
});

test('berth does not start with a data folder that it cannot write to, and says so', async (t) => {
  const berth = container(t, 'berth', {});
  mkdirSync(join(berth.root, 'etc/berth'));
  writeFileSync(join(berth.root, 'etc/berth/berth.yaml'), CONFIG);
  berth.start();
  assert.equal(await berth.ended, 1);
  assert.match(berth.output, /berth\.db|database/);
});

test('berth trusts the certificates of the image', async (t) => {
  const berth = container(t, 'berth', {
    change: (config) => (config.process.args = ['/berth', 'health', '--service', 'https://127.0.0.1:1']),
  });
  mkdirSync(join(berth.root, 'etc/berth'));
  writeFileSync(join(berth.root, 'etc/berth/berth.yaml'), CONFIG);
  berth.start();
  assert.equal(await berth.ended, 1);
  // Without certificates the client cannot be built, and the error is another one.
  assert.match(berth.output, /Connection refused/);
});

test('berth-demo logs a user in and places a WebSocket', async (t) => {
  const demo = container(t, 'berth-demo', { writable: { '/berth/target/run': folder(t) } });
  demo.start();
  await demo.says('ready: http://127.0.0.1:8080', 120);
  const jar = join(folder(t), 'jar');
  const url = 'http://127.0.0.1:8080';
  const login = ['-d', 'username=demo', '-d', 'password=demo-password', `${url}/login`];
  demo.inNetwork('curl', '-sf', '-c', jar, ...login);
  assert.match(demo.inNetwork('curl', '-sf', '-b', jar, `${url}/api/whoami`), /"demo"/);
  const client = new URL('../clients/enigma.mjs', import.meta.url).pathname;
  demo.inNetwork(process.execPath, client, '/app/sales.qvf', '/doc/session-doc');
  assert.equal(userOf(demo.pid), [USER, USER, USER, USER].join('\t'));
  assert.equal(await demo.terminate(), 0, demo.output);
});
