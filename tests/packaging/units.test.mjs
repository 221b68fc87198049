// The systemd units: systemd accepts them, they are sandboxed, and they fit the settings of the service.
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BERTH, DEPLOY, read, run } from './support.mjs';

const UNITS = ['berth.service', 'envoy.service'];
/** Exposure as `systemd-analyze security` counts it, times ten: 0 is none, 100 is everything. */
const MAX_EXPOSURE = 20;

/** A root folder with the units, systemd's own units and programs that do nothing. */
function root(t, change = (text) => text) {
  const path = mkdtempSync(join(tmpdir(), 'berth-units-'));
  t.after(() => rmSync(path, { recursive: true }));
  const units = join(path, 'etc/systemd/system');
  mkdirSync(units, { recursive: true });
  for (const name of UNITS) writeFileSync(join(units, name), change(read('placement-service/deploy/systemd', name)));
  cpSync('/usr/lib/systemd/system', join(path, 'usr/lib/systemd/system'), { recursive: true, dereference: false });
  mkdirSync(join(path, 'usr/local/bin'), { recursive: true });
  for (const name of ['berth', 'envoy']) {
    writeFileSync(join(path, 'usr/local/bin', name), '#!/bin/sh\n');
    chmodSync(join(path, 'usr/local/bin', name), 0o755);
  }
  return path;
}

const verify = (path) => run('systemd-analyze', ['verify', `--root=${path}`, ...UNITS]);

test('systemd-analyze verify has nothing to say', (t) => {
  const judged = verify(root(t));
  assert.deepEqual([judged.status, judged.text], [0, '']);
  const spoilt = verify(root(t, (text) => text.replace('ProtectHome', 'ProtectHomes')));
  assert.match(spoilt.text, /ProtectHomes/);
});

test('the exposure of the units is low', (t) => {
  const judge = (path, name) =>
    run('systemd-analyze', ['security', '--offline=yes', `--threshold=${MAX_EXPOSURE}`, '--no-pager', `--root=${path}`, name]);
  const path = root(t);
  for (const name of UNITS) {
    const judged = judge(path, name);
    assert.equal(judged.status, 0, judged.text);
  }
  const open = root(t, (text) => text.replace(/^ProtectSystem=.*\n|^SystemCallFilter=.*\n|^User=.*\n/gm, ''));
  for (const name of UNITS) assert.notEqual(judge(open, name).status, 0);
});

test('the service may stop for longer than its shutdown_grace', () => {
  const seconds = (text, name) => Number(text.match(new RegExp(`^${name}[:=] ?(\\d+)s$`, 'm'))[1]);
  const unit = read('placement-service/deploy/systemd/berth.service');
  const defaults = read('placement-service/config/default.yaml');
  assert.ok(seconds(unit, 'TimeoutStopSec') > seconds(defaults, 'shutdown_grace'));
});

test('the configuration names the credentials of the unit', () => {
  const all = (text, pattern) => [...text.matchAll(pattern)].map((match) => match[1]).toSorted();
  const unit = read('placement-service/deploy/systemd/berth.service');
  const config = read('placement-service/deploy/systemd/berth.yaml');
  assert.deepEqual(all(config, /\/run\/credentials\/berth\.service\/([a-z-]+)/g), all(unit, /^LoadCredential=([a-z-]+):/gm));
  const judged = run(BERTH, ['check', '--without-secrets', join(DEPLOY, 'systemd/berth.yaml')]);
  assert.equal(judged.status, 0, judged.text);
  assert.doesNotMatch(judged.text, /warning/);
});
