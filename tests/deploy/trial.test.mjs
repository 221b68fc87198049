// The trial of the install page runs: its configuration, its generated Secret, its simulated engine and its Envoy with the
// built filter. Only addresses, ports and paths are replaced.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DEPLOY, file, render } from './chart.mjs';
import { Lab } from './lab.mjs';

const lab = new Lab('trial-');
after(() => lab.stop());

// The text with one replacement, which must change it.
function replaced(text, pattern, by) {
  assert.match(text, pattern);
  return text.replace(pattern, by);
}

test('a newcomer logs in and gets a WebSocket on an engine', async () => {
  await lab.reservePorts();
  const { folder, ports } = lab;
  const manifests = render('-f', join(DEPLOY, 'helm/trial.yaml'));
  const secrets = [...manifests.matchAll(/^  (BERTH_\w+): (.*)$/gm)].map(([, name, value]) => [name, Buffer.from(value, 'base64').toString()]);
  lab.mount('envoy', { 'envoy.yaml': lab.local(file(manifests, 'envoy.yaml')) });
  lab.mount('filter', { 'filter.yaml': lab.local(file(manifests, 'filter.yaml')) });
  const config = replaced(file(manifests, 'berth.yaml'), /\/var\/lib\/berth\//, `${folder}/`);
  const engine = `[ { name: engine-0, ip: 127.0.0.1, port: ${ports.engine}, metrics_port: ${ports.metrics} } ]`;
  writeFileSync(join(folder, 'berth.yaml'), replaced(config, /discovery: \{ kubernetes: .*\} \} \}/, `discovery: { static: ${engine} } }`));
  const env = { BERTH_CONFIG: join(folder, 'berth.yaml'), ...Object.fromEntries(secrets) };

  const [, args] = manifests.match(/- \/usr\/local\/bin\/engine-sim\n +args:\n((?: +- .*\n)+)/);
  const places = { '0.0.0.0:9076': `127.0.0.1:${ports.engine}`, '0.0.0.0:9090': `127.0.0.1:${ports.metrics}`, '$(BERTH_TOKEN_KEY)': env.BERTH_TOKEN_KEY };
  const words = [...args.matchAll(/- (.*)/g)].map(([, word]) => places[word] ?? word);
  lab.start('target/quick/engine-sim', words);
  await lab.startService(env);
  const origin = `http://127.0.0.1:${ports.http}`;
  await lab.startGateway(origin, env);

  assert.match(await (await fetch(`${origin}/`)).text(), /<html/);
  const cookie = await lab.login(origin);
  assert.match(cookie, /^berth=/);
  const { socket, messages } = await lab.open(`ws://127.0.0.1:${ports.http}/app/sales.qvf`, cookie);
  await lab.eventually('the first message', () => messages.some(({ method }) => method === 'OnConnected'));
  socket.close();
});
