// The images of `make images` contain what they must contain and nothing else.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { Archive, run } from './support.mjs';

const ROOT = new URL('../../', import.meta.url).pathname;
const VERSION = readFileSync(`${ROOT}Cargo.toml`, 'utf8').match(/^version = "(.*)"/m)[1];
const MODULE = readFileSync(`${ROOT}target/wasm/berth_filter.wasm`);
const MIB = 1024 * 1024;

const withArchive = (name, body) =>
  test(name, async (t) => {
    const archive = new Archive(name.split(':')[0]);
    t.after(() => archive.remove());
    await body(archive);
  });

const sha256 = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

function assertReproducible(archive) {
  const created = Date.parse(archive.config.created) / 1000;
  assert.equal(archive.manifest.layers.length, 1);
  const [layer] = archive.manifest.layers;
  const files = archive.files(layer);
  for (const file of files) {
    assert.equal(file.time, created, file.path);
    assert.match(file.owner, /^(0\/0|65532\/65532)$/, file.path);
    assert.doesNotMatch(file.mode, /[st]|^.{8}w/i, `${file.mode} ${file.path}`);
  }
  const paths = files.map((file) => file.path);
  assert.deepEqual(paths, paths.toSorted());
  return files;
}

withArchive('berth: one static program, its certificates and an empty data folder', (archive) => {
  const { config } = archive.config;
  assert.equal(config.User, '65532:65532');
  assert.deepEqual(config.Entrypoint, ['/berth']);
  assert.deepEqual(config.Cmd, ['serve']);
  assert.equal(config.WorkingDir, '/var/lib/berth');
  assert.deepEqual(config.Labels['org.opencontainers.image.version'], VERSION);
  assert.match(config.Labels['org.opencontainers.image.revision'], /^[0-9a-f]{40}$/);
  const files = assertReproducible(archive);
  const plain = files.filter((file) => file.mode.startsWith('-')).map((file) => file.path);
  assert.deepEqual(plain, ['berth', 'etc/group', 'etc/passwd', 'etc/ssl/certs/ca-certificates.crt', 'licenses/LICENSE']);
  const own = files.filter((file) => file.owner === '65532/65532').map((file) => file.path);
  assert.deepEqual(own, ['var/lib/berth/']);
  assert.ok(archive.manifest.layers[0].size < 40 * MIB, `${archive.manifest.layers[0].size} bytes`);
});

withArchive('berth-filter: plugin.wasm in one layer, the compat variant of the Wasm image specification', (archive) => {
  assert.equal(archive.manifest.annotations['module.wasm.image/variant'], 'compat');
  const files = assertReproducible(archive);
  assert.deepEqual(files.map((file) => file.path), ['plugin.wasm']);
  const [layer] = archive.manifest.layers;
  assert.equal(layer.mediaType, 'application/vnd.oci.image.layer.v1.tar+gzip');
  assert.equal(files[0].size, MODULE.length);
});

withArchive('berth-filter-artifact: the module and its runtime configuration, the oci variant', (archive) => {
  const { config, layers } = archive.manifest;
  assert.equal(config.mediaType, 'application/vnd.module.wasm.config.v1+json');
  const types = ['application/vnd.module.wasm.content.layer.v1+wasm', 'application/vnd.module.wasm.config.v1+json'];
  assert.deepEqual(layers.map((layer) => layer.mediaType), types);
  assert.equal(layers[0].digest, sha256(MODULE));
  for (const { digest, size } of [config, ...layers]) {
    const content = archive.blob(digest);
    assert.deepEqual([sha256(content), content.length], [digest, size]);
  }
  const exports = WebAssembly.Module.exports(new WebAssembly.Module(MODULE)).map((one) => one.name);
  const versions = archive.config.abiVersions.map((version) => `proxy_abi_version_${version.replaceAll('.', '_')}`);
  assert.deepEqual(exports.filter((name) => name.startsWith('proxy_abi_version')), versions);
});

withArchive('berth-demo: Envoy, its libraries, the programs and the configurations', (archive) => {
  assert.equal(archive.config.config.User, '65532:65532');
  const paths = assertReproducible(archive).map((file) => file.path);
  for (const path of ['berth', 'berth-run', 'engine-sim', 'envoy']) assert.ok(paths.includes(`usr/local/bin/${path}`), path);
  assert.ok(paths.includes('opt/berth/plugin.wasm'), 'the place where the chart looks for a bundled filter');
});

test('skopeo reads every archive', () => {
  for (const name of ['berth', 'berth-filter', 'berth-demo']) {
    const inspected = JSON.parse(run('skopeo', 'inspect', `oci-archive:${ROOT}target/images/${name}.tar`));
    assert.equal(inspected.Architecture, { x64: 'amd64', arm64: 'arm64' }[process.arch]);
  }
  const raw = run('skopeo', 'inspect', '--raw', `oci-archive:${ROOT}target/images/berth-filter-artifact.tar`);
  assert.equal(JSON.parse(raw).annotations['module.wasm.image/variant'], 'oci');
});
