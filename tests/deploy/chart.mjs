// Reads what the chart renders, without a parser for YAML.
import { execFileSync } from 'node:child_process';

export const DEPLOY = 'placement-service/deploy';
export const CHART = `${DEPLOY}/helm/berth`;

// Standard output of `helm template`, as the release berth in the namespace berth.
export function render(...options) {
  return execFileSync('helm', ['template', 'berth', CHART, '-n', 'berth', '--kube-version', '1.35.0', ...options], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

// The text of a file in a rendered ConfigMap.
export function file(manifests, name) {
  const lines = manifests.split('\n');
  const start = lines.indexOf(`  ${name}: |`);
  if (start < 0) throw new Error(`no file ${name}`);
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => line !== '' && !line.startsWith('    '));
  return rest.slice(0, end < 0 ? rest.length : end).map((line) => line.slice(4)).join('\n');
}
