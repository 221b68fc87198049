// The chart: what it derives from the configuration, what it refuses, and that its table of values is true.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CHART, DEPLOY, block, file, render } from './chart.mjs';
import { readValues, rows, table, withTable } from './values.mjs';

const folder = mkdtempSync(join(tmpdir(), 'chart-'));
after(() => rmSync(folder, { recursive: true }));

// Renders the chart with the text of an input file.
function renderWith(value, text, ...options) {
  const path = join(folder, 'input');
  writeFileSync(path, text);
  return render('--set-file', `${value}=${path}`, ...options);
}

const config = (discovery, rest = '') => `pools: [ { name: p, discovery: ${discovery} } ]\n${rest}`;

// Kind and namespace of each manifest whose kind matches.
function kinds(manifests, pattern) {
  const found = manifests.split('\n---\n').map((one) => [one.match(/^kind: (.*)$/m)?.[1], one.match(/^  namespace: (.*)$/m)?.[1]]);
  return found.filter(([kind]) => pattern.test(kind)).map(([kind, namespace]) => `${kind} ${namespace ?? ''}`.trim());
}

test('the table of values in the README is that of the chart', () => {
  const readme = readFileSync(join(CHART, 'README.md'), 'utf8');
  assert.equal(readme, withTable(readme, table(CHART)), 'run tests/setup/chart.sh');
});

test('the version of the chart is that of the workspace', () => {
  const workspace = readFileSync('Cargo.toml', 'utf8').match(/^\[workspace\.package\]\nversion = "(.*)"/m)[1];
  const chart = readFileSync(join(CHART, 'Chart.yaml'), 'utf8');
  assert.deepEqual([...chart.matchAll(/^(?:version|appVersion): (.*)$/gm)].map(([, version]) => version), [workspace, workspace]);
});

test('every value has a row', () => {
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
  const paths = rows(schema, readValues(CHART)).map(({ path }) => path);
  const covered = (path) => paths.some((row) => path === row || path.startsWith(`${row}.`));
  const leaves = (value, path) =>
    value && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length
      ? Object.entries(value).flatMap(([name, part]) => leaves(part, path ? `${path}.${name}` : name))
      : [path];
  assert.deepEqual(leaves(readValues(CHART), '').filter((path) => !covered(path)), []);
  assert.ok(paths.length > 80);
});

// The rules of each Role and ClusterRole: "KIND NAMESPACE: RESOURCES".
function rights(manifests) {
  const roles = manifests.split('\n---\n').filter((one) => /^kind: (Cluster)?Role$/m.test(one));
  return roles.map((role) => {
    const rules = role.match(/^rules:\n((?: .*\n?)+)/m)[1].trim().replaceAll(/\s+/g, ' ');
    const each = rules.split('- apiGroups:').filter((rule) => rule);
    const resources = each.map((rule) => rule.trim().match(/^- (\S+) resources: - (\S+) verbs: - list - watch$/));
    assert.ok(resources.every((found) => found), rules);
    const [place] = kinds(role, /Role/);
    return `${place}: ${resources.map(([, group, resource]) => [group.replaceAll('"', ''), resource].filter((part) => part).join('/')).join(', ')}`;
  });
}

test('the service may list what its configuration looks for, only where it looks', () => {
  const granted = (discovery) => rights(renderWith('config', config(discovery)));
  const slices = 'discovery.k8s.io/endpointslices';
  assert.deepEqual(granted('{ kubernetes: { selector: a } }'), ['Role berth: pods']);
  assert.deepEqual(granted('{ kubernetes: { service: a } }'), [`Role berth: ${slices}`]);
  const two = '[ { static: [] }, { kubernetes: { namespace: b } }, { kubernetes: { service: s, namespace: a } }, { kubernetes: { namespace: a } } ]';
  assert.deepEqual(granted(two), [`Role a: pods, ${slices}`, 'Role b: pods']);
  const all = '[ { kubernetes: { all_namespaces: true } }, { kubernetes: { namespace: b } }, { kubernetes: { service: s, namespace: a } } ]';
  assert.deepEqual(granted(all), ['ClusterRole: pods', `Role a: ${slices}`]);
  for (const without of ['{ static: [] }', '{ kubernetes: { kubeconfig: /file } }', '{ kubernetes: { service: s, kubeconfig: /file } }']) {
    assert.deepEqual(granted(without), []);
  }
  const bindings = kinds(renderWith('config', config(all)), /RoleBinding/);
  assert.deepEqual(bindings, ['ClusterRoleBinding', 'RoleBinding a']);
});

test('the cookie of the filter is that of the configuration', () => {
  const cookie = (text) => file(renderWith('config', config('{ static: [] }', text)), 'filter.yaml').match(/cookie: (.*)/)?.[1];
  assert.equal(cookie(''), '__Host-berth');
  assert.equal(cookie('session: { cookie: { secure: false } }'), 'berth');
  assert.equal(cookie('session: { cookie: { secure: false, name: mine } }'), 'mine');
});

test('a secret in the filter is refused', () => {
  const filter = readFileSync(join(CHART, 'files/filter.yaml'), 'utf8');
  const inline = filter.replace('secret_env: BERTH_TOKEN_KEY', 'secret: a-secret-in-a-config-map');
  assert.throws(() => renderWith('gateway.filterConfig', inline), /use secret_env/);
  const service = filter.replace('secret_env: BERTH_GATEWAY_SECRET', 'secret: a-secret-in-a-config-map');
  assert.notEqual(service, filter);
  assert.throws(() => renderWith('gateway.filterConfig', service), /service: use secret_env/);
});

test('an input that is not what the chart expects is refused', () => {
  const envoy = readFileSync('envoy/config.yaml', 'utf8');
  const filter = readFileSync('envoy/filter.yaml', 'utf8');
  assert.throws(() => renderWith('gateway.envoyConfig', filter), /gateway\.envoyConfig: no listener/);
  assert.throws(() => renderWith('gateway.filterConfig', envoy), /gateway\.filterConfig: no `resources`/);
  // Without the filter, the gateway would be open.
  const open = envoy.replace(/ +- name: berth\n +config_discovery:\n(?: {22}.*\n)+/, '');
  assert.notEqual(open, envoy);
  assert.throws(() => renderWith('gateway.envoyConfig', open), /config_discovery, the Berth filter/);
});

test('clusters of applications have the address of the release or are removed with their routes', () => {
  const envoy = readFileSync('envoy/config.yaml', 'utf8');
  const without = file(renderWith('gateway.envoyConfig', envoy), 'envoy.yaml');
  assert.ok(!/127\.0\.0\.1\n.*9460|prefix: \/api\/|name: app$/m.test(without));
  const given = renderWith('gateway.envoyConfig', envoy, '--set', 'gateway.applications.app.host=app.default.svc,gateway.applications.app.port=8080');
  const text = file(given, 'envoy.yaml');
  assert.match(text, /address: app\.default\.svc\n +port_value: 8080/);
  assert.match(text, /prefix: \/api\//);
});

test('every change of the filter is a new version, and does not replace the pods', () => {
  const filter = readFileSync(join(CHART, 'files/filter.yaml'), 'utf8');
  const seen = (text) => {
    const manifests = renderWith('gateway.filterConfig', text);
    return [manifests.match(/version_info: (.*)/)[1], manifests.match(/checksum\/envoy: (.*)/)[1]];
  };
  const [version, checksum] = seen(filter);
  const [changedVersion, sameChecksum] = seen(filter.replace('/logout', '/bye'));
  assert.notEqual(version, changedVersion);
  assert.equal(checksum, sameChecksum);
});

test('a gateway that ends asks the service to drain it', async () => {
  const asked = [];
  const server = createServer((request, reply) => {
    asked.push([request.method, request.url, request.headers.authorization]);
    reply.end('{}');
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  // A failed test does not wait for its server.
  server.unref();
  const script = block(render('--set', 'gateway.drain.seconds=30'), '- bash')
    .replace('berth.berth.svc.cluster.local/9455', `127.0.0.1/${server.address().port}`)
    .replace('sleep 40', 'exit 7');
  const env = { PATH: process.env.PATH, POD_NAME: 'berth-gateway-0', BERTH_OPS_SECRET: 'the-secret' };
  const bash = spawn('bash', ['-c', script], { env, stdio: 'inherit' });
  assert.equal(await new Promise((exit) => bash.on('exit', exit)), 7);
  server.close();
  assert.deepEqual(asked, [['POST', '/v1/gateways/berth-gateway-0/drain?over=30s&refuse=true', 'Bearer the-secret']]);
});

test('the trial needs one image, no Secret and no new Kubernetes', () => {
  const trial = render('--kube-version', '1.30.0', '-f', join(DEPLOY, 'helm/trial.yaml'), '--set', 'imageRegistry=registry.example.com/team');
  const images = [...trial.matchAll(/^ +image: (.*)$/gm)].map(([, image]) => image);
  assert.ok(images.length >= 3);
  const version = trial.match(/app\.kubernetes\.io\/version: "(.*)"/)[1];
  assert.deepEqual([...new Set(images)], [`registry.example.com/team/berth-demo:${version}`]);
  const secret = trial.split('\n---\n').find((one) => /^kind: Secret$/m.test(one));
  const values = [...secret.matchAll(/^  (BERTH_\w+): (.*)$/gm)].map(([, name, value]) => [name, Buffer.from(value, 'base64').toString()]);
  assert.deepEqual(values.map(([name]) => name), ['BERTH_TOKEN_KEY', 'BERTH_GATEWAY_SECRET', 'BERTH_OPS_SECRET']);
  for (const [, value] of values) assert.match(value, /^\w{48}$/);
  assert.equal(new Set(values.map(([, value]) => value)).size, 3);
  // Whatever reads the Secret finds its keys there. The image has no shell for a hook.
  const read = [...trial.matchAll(/secretKeyRef: \{ name: berth, key: (\w+)/g)].map(([, key]) => key);
  for (const key of read) assert.ok(values.some(([name]) => name === key), key);
  assert.doesNotMatch(trial, /- bash/);
});

test('a Secret is generated only if a value says so', () => {
  assert.deepEqual(kinds(render(), /^Secret$/), []);
  assert.deepEqual(kinds(render('--set', 'generateSecret=true,existingSecret=other'), /^Secret$/), ['Secret berth']);
});

test('the service behind another gateway admits it', () => {
  for (const [folder, namespace, port] of [['istio', 'istio-ingress', '15012'], ['envoy-gateway', 'envoy-gateway-system', undefined]]) {
    const manifests = render('-f', `envoy/${folder}/service-values.yaml`);
    assert.deepEqual(kinds(manifests, /^Deployment$/), ['Deployment berth']);
    const policies = manifests.split('\n---\n').filter((one) => /^kind: NetworkPolicy$/m.test(one));
    assert.equal(policies.length, 2);
    // The service's port, and the engines' port for their WebSockets.
    const [service, engines] = policies.map((policy) => policy.split(/^  ingress:$/m)[1].split(/^  egress:$/m)[0].split(/^    - ports:/m));
    for (const rule of [service[1], engines[1]]) assert.match(rule, new RegExp(`metadata.name: ${namespace}$`, 'm'));
    assert.ok(!engines[2].includes(namespace), 'not the port of metrics');
    assert.equal(policies[0].match(/port: (15012)/)?.[1], port);
  }
});

test('the registry is that of images without one', () => {
  const images = (...options) => [...render('--set', 'imageRegistry=r.example', ...options).matchAll(/^ +(?:image|reference): (.*)$/gm)].map(([, image]) => image);
  assert.match(images('--set', 'service.image.repository=own.example/berth').join(' '), /(^| )own\.example\/berth:/);
  const found = images().join(' ');
  assert.match(found, /(^| )r\.example\/berth:/);
  assert.match(found, /(^| )r\.example\/berth-filter:/);
  assert.match(found, /(^| )docker\.io\/envoyproxy\/envoy:/);
});

test('an image volume is refused where Kubernetes has none', () => {
  assert.throws(() => render('--kube-version', '1.32.0'), /use init-container/);
  assert.match(render('--kube-version', '1.32.0', '--set', 'gateway.filter.delivery=init-container'), /crane export/);
});

for (const [what, option, message] of [
  ['an unknown value', 'gateway.replicass=1', /replicass/],
  ['a wrong type', 'service.replicas=many', /replicas/],
  ['a way of delivery that does not exist', 'gateway.filter.delivery=git', /delivery/],
  ['a log level that prints cookies', 'gateway.logLevel=debug', /logLevel/],
  ['an empty Secret', 'existingSecret=', /existingSecret/],
  ['a grace period shorter than the drain of an engine', 'engines.enabled=true,engines.image.repository=x,engines.terminationGracePeriodSeconds=100', /engines\.terminationGracePeriodSeconds/],
  ['a grace period shorter than the drain of a gateway', 'gateway.terminationGracePeriodSeconds=80', /gateway\.terminationGracePeriodSeconds/],
  ['a configuration that is not YAML', 'config=a: b: c', /config: not YAML/],
  ['engines without an image', 'engines.enabled=true', /engines\.image\.repository/],
  ['engines that end before their drain', 'engines.enabled=true,engines.image.repository=x,engines.preStopSeconds=60', /drain_duration/],
]) {
  test(`${what} is refused`, () => assert.throws(() => render('--set', option), message));
}
