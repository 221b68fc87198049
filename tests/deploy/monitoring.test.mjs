// The rules and dashboards: their metrics exist, every alert leads to an entry of the runbook, every entry has an alert,
// every alert has tests, and docs/metrics.md lists the alerts as they are.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEPLOY } from './chart.mjs';

const read = (path) => readFileSync(path, 'utf8');
const METRICS = read('placement-service/docs/metrics.md');
const RUNBOOK = read('placement-service/docs/runbook.md');
const ALERTS = read(`${DEPLOY}/monitoring/alerts.yaml`);
const OBJECTIVES = read(`${DEPLOY}/monitoring/objectives.yaml`);
const RUNBOOK_URL = 'https://berth.example.com/runbook.md';

const dashboards = readdirSync(`${DEPLOY}/monitoring/dashboards`).map((name) => ({
  name,
  ...JSON.parse(read(`${DEPLOY}/monitoring/dashboards/${name}`)),
}));
const queries = dashboards.flatMap(({ name, panels }) =>
  panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: `${name}: ${title}`, expr }))),
);

// The alerts of a rules file: name, expression and address of the runbook.
function alerts(rules) {
  const parts = rules.split(/^ *- (?=alert: |record: )/m).filter((part) => part.startsWith('alert: '));
  return parts.map((part) => ({
    name: part.match(/^alert: (.*)/)[1],
    expr: part.match(/^ +expr: (?!>)(.*)/m)?.[1],
    runbook: part.match(/runbook_url: (.*)/)?.[1],
  }));
}

// The section of a page below a heading of level 2.
const section = (page, heading) => page.split(`\n## ${heading}\n`)[1].split('\n## ')[0];
// The metrics in the tables of docs/metrics.md, without labels.
const documented = new Set([...METRICS.matchAll(/`([a-z_.0-9]+)(?:\{[^`]*)?`/g)].map(([, name]) => name));

// Whether a series of this name is documented: histograms have three series, and Envoy's names differ by form.
function isDocumented(name) {
  const base = name.replace(/_(bucket|sum|count)$/, '');
  if (documented.has(name) || documented.has(base)) return true;
  if (!name.startsWith('envoy_')) return false;
  return [...documented].some((known) => name.endsWith(`_${known.replaceAll('.', '_')}`));
}

const metrics = (expr) => expr.match(/\b(berth|envoy|qix)_[a-z_0-9]+/g) ?? [];

test('the metrics of rules and dashboards are documented', () => {
  const expressions = [...(ALERTS + OBJECTIVES).matchAll(/^ +expr: (.*)/gm)].map(([, expr]) => ({ where: 'rules', expr }));
  assert.ok(expressions.length > 40 && queries.length > 40);
  for (const { where, expr } of [...expressions, ...queries]) {
    for (const name of metrics(expr)) assert.ok(isDocumented(name), `${where}: ${name}`);
  }
  assert.ok(!isDocumented('berth_engines_total') && !isDocumented('envoy_wasm_berth_vm_gone'));
});

test('recorded ratios of dashboards exist', () => {
  const recorded = new Set([...OBJECTIVES.matchAll(/record: (.*)/g)].map(([, name]) => name));
  const used = [...queries.map(({ expr }) => expr), OBJECTIVES].flatMap((text) => text.match(/berth:[a-z_0-9:]+/g) ?? []);
  assert.ok(used.length > 3);
  for (const name of used) assert.ok(recorded.has(name), name);
});

test('every alert leads to an entry of the runbook', () => {
  const entries = new Set([...RUNBOOK.matchAll(/^### `(.*)`/gm)].map(([, name]) => name));
  const all = [...alerts(ALERTS), ...alerts(OBJECTIVES)];
  assert.equal(all.length, 28);
  for (const { name, runbook } of all) {
    const [url, anchor] = runbook.split('#');
    assert.equal(url, RUNBOOK_URL, name);
    assert.ok(entries.has(anchor), `${name}: ${anchor}`);
  }
});

test('every metric in the runbook has an alert', () => {
  const entries = [...section(RUNBOOK, 'Metrics').matchAll(/^### `(.*)`/gm)].map(([, name]) => name);
  assert.ok(entries.length > 15);
  const reached = new Set(alerts(ALERTS).map(({ runbook }) => runbook.split('#')[1]));
  assert.deepEqual(entries.filter((entry) => !reached.has(entry)), []);
});

test('docs/metrics.md lists the alerts as they are', () => {
  const listed = [...section(METRICS, 'Alerts').matchAll(/^\| `(.*?)` \| `(.*)` \|$/gm)];
  assert.deepEqual(
    listed.map(([, name, expr]) => ({ name, expr: expr.replaceAll('\\|', '|') })),
    alerts(ALERTS).map(({ name, expr }) => ({ name, expr })),
  );
  const objectives = section(METRICS, 'Service level objectives');
  for (const { name } of alerts(OBJECTIVES)) assert.ok(objectives.includes(`\`${name}\``), name);
});

test('every alert has a test in which it fires and one in which it does not', () => {
  const folder = `${DEPLOY}/monitoring/tests`;
  const tests = readdirSync(folder).map((name) => read(join(folder, name))).join('\n');
  for (const { name } of [...alerts(ALERTS), ...alerts(OBJECTIVES)]) {
    assert.match(tests, new RegExp(`alertname: ${name}\n +exp_alerts: \\[\\]`), name);
    assert.match(tests, new RegExp(`alertname: ${name}\n +exp_alerts:\n +- exp_labels`), name);
  }
});

test('dashboards are complete, and their queries are valid', () => {
  assert.deepEqual(dashboards.map(({ uid }) => uid).sort(), ['berth-edge', 'berth-fleet', 'berth-login']);
  for (const { name, panels, templating } of dashboards) {
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length, name);
    const variables = new Set(templating.list.map((variable) => variable.name));
    for (const [, used] of JSON.stringify(panels).matchAll(/\$\{?(?!__)([a-z]+)/g)) assert.ok(variables.has(used), `${name}: ${used}`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'queries-'));
  try {
    const rules = queries.map(({ expr }, n) => ({ record: `query:${n}`, expr: expr.replaceAll('$__rate_interval', '5m') }));
    writeFileSync(join(folder, 'rules.yaml'), JSON.stringify({ groups: [{ name: 'queries', rules }] }));
    execFileSync('promtool', ['check', 'rules', '--lint=none', join(folder, 'rules.yaml')], { stdio: 'pipe' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
