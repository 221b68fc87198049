// The table of values in the chart's README, from values.yaml (defaults) and values.schema.json (meanings).
//   node tests/deploy/values.mjs CHART          writes the table
//   node tests/deploy/values.mjs CHART --check  fails if the table is another one
import { execFileSync } from 'node:child_process';
import { mkdtempSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The values of a chart as JSON: rendered by a chart that consists of its values.yaml.
export function readValues(chart) {
  const folder = mkdtempSync(join(tmpdir(), 'values-'));
  try {
    mkdirSync(join(folder, 'templates'));
    copyFileSync(join(chart, 'values.yaml'), join(folder, 'values.yaml'));
    writeFileSync(join(folder, 'Chart.yaml'), 'apiVersion: v2\nname: values\nversion: 0.0.0\n');
    writeFileSync(join(folder, 'templates/values.yaml'), '{{ toJson .Values }}\n');
    const text = execFileSync('helm', ['template', folder], { encoding: 'utf8' });
    return JSON.parse(text.split('\n').find((line) => line.startsWith('{')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// Every described value of the schema: its path, default and meaning. A value whose schema has a description is one row,
// whatever is below it.
export function rows(schema, values, path = []) {
  return Object.entries(schema.properties).flatMap(([name, part]) => {
    const at = [...path, name];
    if (part.description) return [{ path: at.join('.'), value: values[name], meaning: part.description }];
    if (part.properties) return rows(part, values[name], at);
    // Helm adds `global` to the values of every chart.
    if (name === 'global') return [];
    throw new Error(`${at.join('.')}: no description`);
  });
}

const cell = (text) => text.replaceAll('|', '\\|');
const code = (value) => '`' + cell(JSON.stringify(value)) + '`';

export function table(chart) {
  const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'));
  const lines = rows(schema, readValues(chart)).map(
    ({ path, value, meaning }) => `| \`${path}\` | ${code(value)} | ${cell(meaning)} |`,
  );
  return ['| value | default | meaning |', '| --- | --- | --- |', ...lines].join('\n');
}

// The README with the table: it follows the heading `Values`, up to the next heading.
export function withTable(readme, text) {
  const [before, after] = readme.split('\n## Values\n');
  const rest = after.slice(after.indexOf('\n## '));
  return `${before}\n## Values\n\n${text}\n${rest}`;
}

if (process.argv[1] === import.meta.filename) {
  const chart = process.argv[2];
  const path = join(chart, 'README.md');
  writeFileSync(path, withTable(readFileSync(path, 'utf8'), table(chart)));
}
