// The files of `make dist`: an archive with one static program, its configurations, and bills of materials that match Cargo.lock.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = new URL('../../', import.meta.url).pathname;
const DIST = join(ROOT, 'target/dist');
const VERSION = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8').match(/^version = "(.*)"/m)[1];
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
const files = (end) => readdirSync(DIST).filter((name) => name.endsWith(end));

test('the archive contains a static berth of this version, units and configurations', (t) => {
  const [archive] = files('.tar.gz');
  const dir = mkdtempSync(join(tmpdir(), 'berth-dist-'));
  t.after(() => rmSync(dir, { recursive: true }));
  run('tar', '-xzf', join(DIST, archive), '-C', dir);
  const root = join(dir, archive.replace('.tar.gz', ''));
  const berth = join(root, 'berth');
  assert.equal(run(berth, '--version'), `berth ${VERSION}\n`);
  assert.doesNotMatch(run('readelf', '--program-headers', berth), /INTERP/);
  for (const path of ['LICENSE', 'CHANGELOG.md', 'systemd/berth.service', 'systemd/envoy.service']) readFileSync(join(root, path));
  assert.match(run(berth, 'check', '--without-secrets', join(root, 'systemd/berth.yaml')), /: ok\n$/);
  assert.match(readFileSync(join(root, 'envoy/filter.yaml'), 'utf8'), new RegExp(`filename: berth-filter-${VERSION}\\.wasm`));
});

test('neither the program nor the filter contains a path of the machine that built it', () => {
  const home = process.env.CARGO_HOME ?? join(process.env.HOME, '.cargo');
  const built = [join(DIST, `berth-filter-${VERSION}.wasm`), ...readdirSync(join(ROOT, 'target'))
    .filter((name) => name.endsWith('-unknown-linux-musl'))
    .map((name) => join(ROOT, 'target', name, 'release/berth'))];
  for (const path of built) {
    const content = readFileSync(path);
    for (const folder of [ROOT, home, join(process.env.HOME, '.rustup')]) assert.equal(content.indexOf(folder), -1, `${path}: ${folder}`);
  }
});

test('the bills of materials list each crate once, with licence, checksum of Cargo.lock and known dependencies', () => {
  const lock = readFileSync(join(ROOT, 'Cargo.lock'), 'utf8');
  const bills = files('.cdx.json');
  assert.equal(bills.length, 2);
  for (const name of bills) {
    const bill = JSON.parse(readFileSync(join(DIST, name)));
    const refs = bill.components.map((one) => one['bom-ref']);
    assert.equal(new Set(refs).size, refs.length);
    assert.ok(refs.length > 50, name);
    for (const { name: crate, version, licenses, hashes } of bill.components) {
      assert.ok(licenses, `${crate} has no licence`);
      if (crate.startsWith('berth-')) continue;
      assert.ok(lock.includes(`name = "${crate}"\nversion = "${version}"\n`), crate);
      assert.ok(lock.includes(`checksum = "${hashes[0].content}"`), crate);
    }
    const known = new Set([...refs, bill.metadata.component['bom-ref']]);
    for (const { dependsOn } of bill.dependencies) for (const ref of dependsOn) assert.ok(known.has(ref), ref);
    assert.ok(!refs.some((ref) => /\/(proptest|tempfile|wasm-bindgen-test)@/.test(ref)), 'a crate of the tests');
  }
});
