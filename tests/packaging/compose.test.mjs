// compose.yaml is valid, its images are those of this version, and Envoy accepts its configuration.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  assert.deepEqual(sources.toSorted(), [join(DEPLOY, 'compose/envoy'), join(DEPLOY, 'compose/berth.yaml'), join(ROOT, 'target/wasm')].toSorted());
  const judged = run(BERTH, ['check', join(DEPLOY, 'compose/berth.yaml')]);
  assert.equal(judged.status, 0, judged.text);
});

test('the configuration of Envoy is written from that of the service, and Envoy accepts it', { skip: compose.skip }, () => {
  const { entrypoint, volumes } = load().envoy;
  const mounted = Object.fromEntries(volumes.map(({ source, target }) => [target, source]));
  assert.deepEqual(Object.keys(mounted).toSorted(), ['/etc/berth/envoy', '/etc/berth/wasm']);
  const rendered = run(BERTH, ['render', 'envoy', '--check', '--config', join(DEPLOY, 'compose/berth.yaml'), '-o', mounted['/etc/berth/envoy']]);
  assert.equal(rendered.status, 0, rendered.text);
  assert.deepEqual(entrypoint, ['envoy', '-c', '/etc/berth/envoy/config.yaml', '--disable-hot-restart']);
  // Validation reads the filter's configuration and its module, so they must be where the container has them.
  const dir = mkdtempSync(join(tmpdir(), 'berth-compose-'));
  const here = (text) => text.replaceAll('/etc/berth', dir);
  cpSync(mounted['/etc/berth/wasm'], join(dir, 'wasm'), { recursive: true });
  cpSync(mounted['/etc/berth/envoy'], join(dir, 'envoy'), { recursive: true });
  for (const name of ['config.yaml', 'filter.yaml']) {
    const path = join(dir, 'envoy', name);
    writeFileSync(path, here(readFileSync(path, 'utf8')));
  }
  const judged = run(process.env.ENVOY_PATH ?? join(ROOT, '.tools/envoy'), ['--mode', 'validate', '-c', here(entrypoint[2])], { cwd: dir });
  assert.equal(judged.status, 0, judged.text);
  rmSync(dir, { recursive: true });
});
