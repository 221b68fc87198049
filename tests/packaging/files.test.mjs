// Dockerfiles, workflows, the changelog: each is accepted by its judge, and a spoilt copy is not.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEPLOY, ROOT, VERSION, read, run, tool } from './support.mjs';

const files = (folder, end) => readdirSync(folder).filter((name) => name.endsWith(end)).map((name) => join(folder, name));

test('hadolint accepts the Dockerfiles', () => {
  const { path } = tool('hadolint');
  const dockerfiles = files(join(DEPLOY, 'images'), '.Dockerfile');
  assert.equal(dockerfiles.length, 3);
  const judged = run(path, ['--failure-threshold', 'info', ...dockerfiles]);
  assert.deepEqual([judged.status, judged.text], [0, '']);
  const spoilt = run(path, ['-'], { input: 'FROM debian\nWORKDIR data\n' });
  assert.notEqual(spoilt.status, 0);
});

const actionlint = tool('actionlint');
test('actionlint accepts the workflows', { skip: actionlint.skip }, () => {
  const workflows = files(join(ROOT, '.github/workflows'), '.yaml');
  assert.equal(workflows.length, 2);
  const judged = run(actionlint.path, ['-shellcheck=', '-pyflakes=', ...workflows]);
  assert.deepEqual([judged.status, judged.text], [0, '']);
  const spoilt = read('.github/workflows/ci.yaml').replace('runs-on', 'run-on');
  assert.notEqual(run(actionlint.path, ['-'], { input: spoilt }).status, 0);
});

test('workflows name each action by its commit', () => {
  for (const path of files(join(ROOT, '.github/workflows'), '.yaml')) {
    const uses = read(path.slice(ROOT.length)).match(/uses: .*/g);
    for (const one of uses) assert.match(one, /@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, one);
  }
});

test('the changelog has the version of the workspace', () => {
  assert.match(read('.github/CHANGELOG.md'), new RegExp(`^## ${VERSION.replaceAll('.', '\\.')}\\b`, 'm'));
});
