// compose.yaml is valid, its images are those of this version, and Envoy accepts the configuration that it renders.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BERTH, DEPLOY, ROOT, VERSION, read, run, tool } from './support.mjs';

const FILE = join(DEPLOY, 'compose/compose.yaml');
const compose = tool('compose-go');

/** The file as Docker Compose understands it. */
function load() {
  const loaded = run(compose.path, ['-format', 'json', 'compose.yaml'], { cwd: join(DEPLOY, 'compose') });
  assert.equal(loaded.status, 0, loaded.text);
  return JSON.parse(loaded.stdout).services;
}

test('compose.yaml is valid', { skip: compose.skip }, () => {
  load();
  const dir = mkdtempSync(join(tmpdir(), 'berth-compose-'));
  const spoilt = join(dir, 'compose.yaml');
  writeFileSync(spoilt, readFileSync(FILE, 'utf8').replace('read_only', 'readonly'));
  assert.notEqual(run(compose.path, [spoilt]).status, 0);
  rmSync(dir, { recursive: true });
});

test('the images are those of this version, and Envoy that of the tests', { skip: compose.skip }, () => {
  const services = load();
  assert.equal(services.berth.image, `berth:${VERSION}`);
  assert.equal(services.engine.image, `berth-demo:${VERSION}`);
  assert.equal(services.envoy.image, `envoyproxy/envoy:v${read('.envoy-version').trim()}`);
  for (const name of ['berth', 'engine', 'envoy']) {
    assert.equal(services[name].read_only, true, name);
    assert.deepEqual(services[name].cap_drop, ['ALL'], name);
  }
});

test('the files that it mounts exist, and the service accepts its own', { skip: compose.skip }, () => {
  const sources = Object.values(load()).flatMap(({ volumes = [] }) => volumes.filter((v) => v.type === 'bind').map((v) => v.source));
  assert.deepEqual(sources.toSorted(), [join(ROOT, 'envoy'), join(DEPLOY, 'compose/berth.yaml'), join(ROOT, 'target/wasm')].toSorted());
  const judged = run(BERTH, ['check', join(DEPLOY, 'compose/berth.yaml')]);
  assert.equal(judged.status, 0, judged.text);
});

test('Envoy accepts the configuration that the container renders', { skip: compose.skip }, () => {
  const [shell, options, script] = load().envoy.entrypoint;
  assert.deepEqual([shell, options], ['bash', '-euc']);
  const dir = mkdtempSync(join(tmpdir(), 'berth-compose-'));
  mkdirSync(join(dir, 'target'));
  for (const path of ['envoy', 'target/wasm']) cpSync(join(ROOT, path), join(dir, path), { recursive: true });
  const rendered = join(dir, 'config.yaml');
  const started = `envoy() { printf '%s ' "$@"; }\n${script.replaceAll('/tmp/config.yaml', rendered).replace('exec envoy', 'envoy')}`;
  const ran = run(shell, [options, started], { cwd: dir });
  assert.deepEqual([ran.status, ran.text], [0, `-c ${rendered} --disable-hot-restart `]);
  const text = readFileSync(rendered, 'utf8');
  assert.equal(text.match(/STRICT_DNS/g).length, 2);
  assert.match(text, /0\.0\.0\.0, port_value: 8080/);
  assert.equal(text.match(/address: berth, port_value: 9455/g).length, 2);
  const judged = run(process.env.ENVOY_PATH ?? join(ROOT, '.tools/envoy'), ['--mode', 'validate', '-c', rendered], { cwd: dir });
  assert.equal(judged.status, 0, judged.text);
  rmSync(dir, { recursive: true });
});
