// The root context: the configuration, the key set, the counters.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.mjs';
import { fixture, head, serviceBody, table } from './fixture.mjs';

const routes = [{ prefix: '/app/', action: 'place' }];
const keys = [{ alg: 'HS256', secret: fixture.secret }];
const valid = { routes, tokens: { keys } };
const INFO = 2;
const ERROR = 4;

function errorsOf(config, options) {
  const host = new Host(options);
  assert.equal(host.configure(config), false);
  const errors = host.logs.filter(({ level }) => level === ERROR).map(({ text }) => text);
  assert.equal(errors.length, 1);
  return errors[0];
}

test('a valid configuration is accepted, and the log names the version', () => {
  const host = new Host();
  assert.ok(host.configure(valid));
  assert.equal(host.logs.length, 1);
  const [{ level, text }] = host.logs;
  assert.equal(level, INFO);
  assert.match(text, /^berth: filter \d+\.\d+\.\d+ runs, node=- gateway=[0-9a-f]{32}$/);
  assert.equal(host.tick, 1_000, 'slow ticks while there is nothing to do');
});

test('an invalid configuration is refused with the name of the field', () => {
  assert.match(errorsOf('{'), /EOF/);
  assert.match(errorsOf(''), /routes/);
  assert.match(errorsOf({ ...valid, rotues: [] }), /unknown field `rotues`/);
  assert.match(errorsOf({ ...valid, service: { clutser: 'x' } }), /service.*unknown field `clutser`/);
  assert.match(errorsOf({ ...valid, service: { timeout: 'x' } }), /service\.timeout/);
  assert.match(errorsOf({ ...valid, routes: [{ prefix: '/a', action: 'plcae' }] }), /routes\[0\]\.action/);
});

test('every error is reported at once, without secrets', () => {
  const text = errorsOf({
    service: { cluster: '', secret: 'gate way' },
    cookie: 'a b',
    origins: ['*'],
    routes: [{ action: 'place' }],
    tokens: { keys: [{ alg: 'HS256', secret: 'short-secret' }, { alg: 'RS256', secret: fixture.secret }] },
  });
  for (const field of ['service.cluster', 'service.secret', 'cookie', 'origins[0]', 'routes[0]', 'tokens.keys[0]', 'tokens.keys[1]']) {
    assert.ok(text.includes(`${field}: `), `${field} in ${text}`);
  }
  for (const secret of ['gate way', 'short-secret', fixture.secret]) assert.ok(!text.includes(secret), text);
});

test('a secret from the environment', () => {
  const config = { routes, tokens: { keys: [{ alg: 'HS256', secret_env: 'BERTH_SECRET' }] } };
  assert.match(errorsOf(config), /tokens\.keys\[0\].*BERTH_SECRET/);
  const host = new Host({ env: { BERTH_SECRET: fixture.secret } });
  assert.ok(host.configure(config));
  const request = host.request(head('upgrade'));
  host.answer(host.calls[0], 200, serviceBody({ answer: 'placement' }));
  assert.equal(request.resumed, 1);
});

function withKeySet() {
  const host = new Host();
  assert.ok(host.configure({ ...table.configs['no-keys-yet'], tokens: { jwks: { refresh: '5m' } } }));
  assert.ok(host.tick > 0 && host.tick <= 1000);
  return host;
}

const keySet = (...names) => JSON.stringify({ keys: names.map((name) => fixture.keys[name]) });

function place(host, token) {
  const request = host.request(head('upgrade'));
  const call = host.calls.pop();
  if (call) host.answer(call, 200, serviceBody({ answer: 'placement', with: { token: fixture.tokens[token] } }));
  return request.resumed === 1 ? 'placed' : JSON.parse(request.replies[0].body).reason;
}

test('keys are fetched at the first tick and then at the interval', () => {
  const host = withKeySet();
  assert.equal(place(host, 'rs'), 'not-configured');
  host.wait(host.tick);
  const fetch = host.calls.pop();
  assert.equal(fetch.headers[':path'], '/.well-known/jwks.json');
  assert.equal(fetch.headers[':method'], 'GET');
  host.answer(fetch, 200, keySet('rs', 'es'));
  assert.equal(place(host, 'rs'), 'placed');
  assert.equal(place(host, 'es'), 'placed');
  host.wait(299_000);
  assert.equal(host.calls.length, 0);
  host.wait(2_000);
  assert.equal(host.calls.length, 1);
});

test('keys that were removed from the set are no longer accepted', () => {
  const host = withKeySet();
  host.wait(1);
  host.answer(host.calls.pop(), 200, keySet('rs'));
  host.wait(300_000);
  host.answer(host.calls.pop(), 200, keySet('es'));
  assert.equal(place(host, 'es'), 'placed');
  assert.equal(place(host, 'rs'), 'token-invalid');
});

test('a new key is fetched soon, but not once per token', () => {
  const host = withKeySet();
  host.wait(1);
  host.answer(host.calls.pop(), 200, keySet('rs'));
  for (let i = 0; i < 50; i += 1) assert.equal(place(host, 'es'), 'token-invalid');
  let fetches = 0;
  for (let i = 0; i < 10; i += 1) {
    host.wait(1_000);
    const fetch = host.calls.pop();
    if (fetch) host.answer(fetch, 200, keySet('rs', 'es'));
    fetches += fetch ? 1 : 0;
  }
  assert.equal(fetches, 1);
  assert.equal(place(host, 'es'), 'placed');
});

test('fetches back off while the service fails, and the old keys stay', () => {
  const host = withKeySet();
  host.wait(1);
  host.answer(host.calls.pop(), 200, keySet('rs'));
  host.wait(300_000);
  const invalidResponses = [[503, 'upstream connect error'], [undefined, ''], [200, 'junk'], [200, '{"keys":[]}'], [200, ' '.repeat(300_000)], [404, '']];
  let fetches = 0;
  for (let ms = 0; ms < 120_000; ms += 50) {
    const fetch = host.calls.pop();
    if (fetch) host.answer(fetch, ...invalidResponses[fetches++ % invalidResponses.length]);
    host.wait(50);
  }
  assert.ok(fetches >= 6 && fetches <= 14, `${fetches} fetches in two minutes`);
  assert.equal(host.metrics.get('berth_jwks_failures'), fetches);
  assert.equal(place(host, 'rs'), 'placed');
});

test('a clock that moves back does not delay the key set', () => {
  const host = withKeySet();
  host.now += 3_600_000;
  host.wait(1);
  host.answer(host.calls.pop(), 200, keySet('rs'));
  host.now -= 3_600_000;
  host.wait(50);
  host.answer(host.calls.pop(), 200, keySet('es'));
  assert.equal(place(host, 'es'), 'placed');
});

test('a missing cluster does not cause a busy loop', () => {
  const host = withKeySet();
  host.clusters.clear();
  for (let i = 0; i < 600; i += 1) host.wait(50);
  assert.ok(host.counts.proxy_http_call < 12, `${host.counts.proxy_http_call} tries in 30 s`);
  host.clusters.add('placement');
  host.wait(30_000);
  host.answer(host.calls.pop(), 200, keySet('ed'));
  assert.equal(place(host, 'ed'), 'placed');
});

test('a shared secret in a key set is not a key', () => {
  const host = withKeySet();
  host.wait(1);
  const oct = { kty: 'oct', k: Buffer.from(fixture.secret).toString('base64url'), alg: 'HS256' };
  host.answer(host.calls.pop(), 200, JSON.stringify({ keys: [oct, fixture.keys.rs] }));
  assert.equal(place(host, 'hs'), 'token-invalid');
});

test('every request and every refusal is counted once', () => {
  const host = new Host();
  assert.ok(host.configure(table.configs.default));
  host.request(head('plain'));
  host.request(head('upgrade', { set: { ':path': '/nowhere' } }));
  host.request(head('api', { set: { cookie: null } }));
  const answers = [[200, serviceBody({ answer: 'placement' })], [504, ''], [401, serviceBody({ answer: 'unknown' })]];
  for (const answer of answers) {
    host.request(head('upgrade'));
    host.answer(host.calls.pop(), ...answer);
  }
  host.wait(0);
  assert.deepEqual(Object.fromEntries(host.metrics), {
    'berth_requests.action=bypass.route=/': 1,
    'berth_requests.action=none.route=none': 1,
    'berth_requests.action=authenticate.route=/api/': 1,
    'berth_requests.action=place.route=/app/': 3,
    'berth_streams_opened.pool=qix': 1,
    'berth_rejections.reason=no-route.route=none': 1,
    'berth_rejections.reason=no-session.route=/api/': 1,
    'berth_rejections.reason=service-timeout.route=/app/': 1,
    'berth_rejections.reason=unknown-session.route=/app/': 1,
    berth_callout_failures: 1,
  });
});

test('a placement needs few host calls', () => {
  const host = new Host();
  assert.ok(host.configure(table.configs.default));
  host.request(head('upgrade'));
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  host.counts = {};
  host.request(head('upgrade'));
  const beforeResponse = Object.values(host.counts).reduce((a, b) => a + b);
  host.answer(host.calls.pop(), 200, serviceBody({ answer: 'placement' }));
  const total = Object.values(host.counts).reduce((a, b) => a + b);
  // Headers, the cookie, the client's path, the time, the callout; then context, status, body, time and histogram,
  // five headers, the access log's text, resume, the counter of streams.
  assert.deepEqual([beforeResponse, total - beforeResponse], [5, 13]);
});
