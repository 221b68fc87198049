// Finds and runs the programs that judge the files of an installation.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = new URL('../../', import.meta.url).pathname;
export const DEPLOY = join(ROOT, 'placement-service/deploy');
export const VERSION = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8').match(/^version = "(.*)"/m)[1];

export const read = (...path) => readFileSync(join(ROOT, ...path), 'utf8');

/** Runs a program. Returns its exit code, its standard output and all that it printed. */
export function run(program, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', cwd: ROOT, ...options });
  if (error) throw error;
  return { status, stdout, text: stdout + stderr };
}

/** A program in .tools/bin. `skip` is set where it is missing because there is no Go, and is an error in CI. */
export function tool(name) {
  const path = join(ROOT, '.tools/bin', name);
  if (existsSync(path)) return { path };
  if (process.env.CI && run('sh', ['-c', 'command -v go']).status === 0) throw new Error(`${name} is not installed: run make setup`);
  return { path, skip: `${name} is not installed: it needs Go` };
}

/** The service's program of `make build` or `make test`. */
export const BERTH = ['quick', 'release'].map((profile) => join(ROOT, 'target', profile, 'berth')).find(existsSync);
