// Reads what the chart renders, without a parser for YAML.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';

// As in tests/setup/lib.sh, for a test that is run by itself.
process.env.PATH += `:${resolve('.tools/bin')}`;

export const DEPLOY = 'placement-service/deploy';
export const CHART = `${DEPLOY}/helm/berth`;

// Standard output of `helm template`, as the release berth in the namespace berth.
export function render(...options) {
  return execFileSync('helm', ['template', 'berth', CHART, '-n', 'berth', '--kube-version', '1.35.0', ...options], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

// The lines of a literal block that begins at this line, without their indentation.
function literal(lines, start) {
  const rest = lines.slice(start);
  const indent = rest[0].search(/\S/);
  const end = rest.findIndex((line) => line !== '' && line.search(/\S/) < indent);
  return rest.slice(0, end < 0 ? rest.length : end).map((line) => line.slice(indent)).join('\n');
}

// The text of a file in a rendered ConfigMap.
export function file(manifests, name) {
  const lines = manifests.split('\n');
  const start = lines.indexOf(`  ${name}: |`);
  if (start < 0) throw new Error(`no file ${name}`);
  return literal(lines, start + 1);
}

// The first literal block after a line that has this text.
export function block(manifests, text) {
  const lines = manifests.split('\n');
  const from = lines.findIndex((line) => line.trim() === text);
  const start = lines.findIndex((line, n) => n > from && line.trim() === '- |');
  if (from < 0 || start < 0) throw new Error(`no block after ${text}`);
  return literal(lines, start + 1);
}
