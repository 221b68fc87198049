// Failing host calls: no request is forwarded, nothing traps. And clients that disconnect.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTINUE, Host, PAUSE, STATUS } from './host.mjs';
import { fixture, head, serviceBody, table } from './fixture.mjs';

// Statuses of Envoy today, and one of a later version.
const FAULTS = [STATUS.NOT_FOUND, STATUS.BAD_ARGUMENT, STATUS.INTERNAL_FAILURE, 12, 99];
const PLACED = serviceBody({ answer: 'placement' });
const SPOOFED = { add: [['x-berth-cluster', 'evil'], ['cookie', 'more=1']] };

function createHost(config = 'default') {
  const host = new Host();
  assert.ok(host.configure(table.configs[config]));
  return host;
}

function assertRefused(request, reason = 'not-configured', status = 503) {
  assert.equal(request.resumed, 0);
  assert.equal(request.replies.length, 1);
  assert.equal(request.replies[0].status, status);
  assert.equal(JSON.parse(request.replies[0].body).reason, reason);
}

const BEFORE = ['proxy_get_header_map_pairs', 'proxy_remove_header_map_value', 'proxy_replace_header_map_value', 'proxy_add_header_map_value'];

for (const call of BEFORE) {
  test(`${call} fails when the request arrives`, () => {
    for (const fault of FAULTS) {
      const host = createHost();
      host.fail = { [call]: fault };
      const request = host.request(head('upgrade', SPOOFED));
      assert.equal(request.action, PAUSE);
      assert.ok(host.counts[call] > 0, 'the call is made');
      assertRefused(request);
      assert.equal(host.calls.length, 0);
    }
  });
}

const AFTER = [
  ['proxy_get_header_map_value', 'service-unreachable'],
  ['proxy_get_buffer_bytes', 'service-unreachable'],
  ['proxy_replace_header_map_value', 'not-configured'],
  ['proxy_continue_stream', 'not-configured'],
];

for (const [call, reason] of AFTER) {
  test(`${call} fails when the response arrives`, () => {
    for (const fault of FAULTS) {
      const host = createHost();
      const request = host.request(head('upgrade'));
      host.counts = {};
      host.fail = { [call]: fault };
      host.answer(host.calls[0], 200, PLACED);
      assert.ok(host.counts[call] > 0, 'the call is made');
      assertRefused(request, reason);
      assert.equal(host.body(request), PAUSE);
    }
  });
}

test('when the local reply fails, too, the request is reset', () => {
  for (const alsoClose of [false, true]) {
    const host = createHost();
    host.fail = { proxy_send_local_response: STATUS.BAD_ARGUMENT };
    if (alsoClose) host.fail.proxy_close_stream = STATUS.BAD_ARGUMENT;
    const earlyRequest = host.request(head('plain', { set: { ':path': '/nowhere' } }));
    assert.equal(earlyRequest.action, PAUSE);
    const lateRequest = host.request(head('upgrade'));
    host.answer(host.calls[0], 503);
    assert.equal(host.counts.proxy_close_stream, undefined, 'a reset re-enters the module, so not in a callback');
    assert.deepEqual([host.body(earlyRequest), host.trailers(lateRequest)], [PAUSE, PAUSE]);
    host.wait(host.tick);
    assert.equal(host.counts.proxy_close_stream, 2);
    assert.equal(earlyRequest.resumed + lateRequest.resumed, 0);
  }
});

test('failures of logs, counters and the access log refuse no request', () => {
  const host = createHost();
  host.fail = { proxy_log: 10, proxy_define_metric: 10, proxy_increment_metric: 10, proxy_set_property: 10 };
  const request = host.request(head('upgrade'));
  host.answer(host.calls[0], 200, PLACED);
  assert.equal(request.resumed, 1);
  assertRefused(host.request(head('plain', { set: { ':path': '/nowhere' } })), 'no-route', 404);
});

test('a truncated header buffer', () => {
  const host = createHost();
  for (host.cut = 1; host.cut < 300; host.cut += 7) {
    const request = host.request(head('upgrade'));
    assert.equal(request.action, PAUSE);
    assertRefused(request);
  }
});

test('a request without a configuration', () => {
  const host = new Host();
  assert.equal(host.configure('{"routes": 7}'), false);
  const request = host.request(head('plain'));
  assert.equal(request.action, PAUSE);
  assertRefused(request);
});

test('body and trailers pause with the request', () => {
  const host = createHost();
  const request = host.request(head('upgrade'));
  assert.deepEqual([host.body(request), host.trailers(request)], [PAUSE, PAUSE]);
  host.answer(host.calls[0], 200, PLACED);
  assert.deepEqual([host.body(request), host.trailers(request)], [CONTINUE, CONTINUE]);
});

const TRAILERS = [['x-checksum', '1'], ['x-berth-cluster', 'evil'], ['authorization', 'Bearer x'], ['x_qlik_session', 's']];

test('internal trailers are removed, from paused and from forwarded requests', () => {
  const host = createHost();
  const request = host.request(head('upgrade'));
  for (const action of [PAUSE, CONTINUE]) {
    assert.equal(host.trailers(request, TRAILERS), action);
    assert.deepEqual(request.trailers.map(([name]) => name), ['x-checksum']);
    if (action === PAUSE) host.answer(host.calls[0], 200, PLACED);
  }
});

for (const call of ['proxy_get_header_map_pairs', 'proxy_remove_header_map_value']) {
  test(`${call} fails when trailers arrive`, () => {
    for (const fault of FAULTS) {
      const host = createHost();
      const request = host.request(head('upgrade'));
      host.fail = { [call]: fault };
      assert.equal(host.trailers(request, TRAILERS), PAUSE);
      assertRefused(request);
    }
  });
}

test('the client disconnects before the response arrives', () => {
  const host = createHost();
  const disconnected = host.request(head('upgrade'));
  host.done(disconnected, { keep: true });
  host.answer(host.calls[0], 200, PLACED);
  assert.equal(disconnected.resumed + disconnected.replies.length, 0);
  assert.equal(disconnected.headers.find(([name]) => name === 'authorization'), undefined);
  host.delete(disconnected);

  const deleted = host.request(head('upgrade'));
  host.done(deleted);
  host.answer(host.calls[1], 200, PLACED);
  assert.equal(deleted.resumed + deleted.replies.length, 0);

  const next = host.request(head('upgrade'));
  host.answer(host.calls[2], 200, PLACED);
  assert.equal(next.resumed, 1);
});

test('concurrent requests get their own responses', () => {
  const host = createHost();
  const requests = ['/app/a', '/app/b', '/app/c'].map((path) => host.request(head('upgrade', { set: { ':path': path } })));
  const answers = host.calls.map((call) => [call, JSON.parse(call.body).path]);
  for (const [call, path] of answers.reverse()) {
    host.answer(call, 200, serviceBody({ answer: 'placement', with: { path: `/engine${path}` } }));
  }
  const paths = requests.map(({ headers }) => String(headers.find(([name]) => name === ':path')[1]));
  assert.deepEqual(paths, ['/engine/app/a', '/engine/app/b', '/engine/app/c']);
});

test('a request keeps the configuration that it started with', () => {
  const host = createHost();
  const request = host.request(head('upgrade'));
  assert.ok(host.configure({ ...table.configs.custom, routes: [{ path: '/', action: 'bypass' }] }));
  host.answer(host.calls[0], 200, PLACED);
  assert.equal(request.resumed, 1);
  assertRefused(host.request(head('upgrade')), 'no-route', 404);
});

test('20,000 disconnected clients leave no state', () => {
  const host = createHost();
  const runRounds = (n) => {
    for (let i = 0; i < n; i += 1) {
      host.done(host.request(head('upgrade')));
      host.calls.length = 0;
    }
  };
  runRounds(2_000);
  const before = host.memory;
  runRounds(18_000);
  // The SDK keeps two numbers per call without a response.
  assert.ok(host.memory - before < 1_000_000, `${before} -> ${host.memory}`);
});

test('200 placements leave no state', () => {
  const host = createHost();
  const large = serviceBody({ answer: 'placement', with: { token: fixture.tokens.large } });
  const runRounds = (n) => {
    for (let i = 0; i < n; i += 1) {
      const request = host.request(head('upgrade'));
      host.answer(host.calls.pop(), 200, large);
      assert.equal(request.resumed, 1);
      host.done(request);
      // Opened and closed streams are kept until they are reported.
      host.wait(host.tick);
      for (const call of host.gatewayCalls.splice(0)) host.answer(call, 200, JSON.stringify({ cursor: 'log-1', events: [] }));
    }
  };
  runRounds(50);
  const before = host.memory;
  runRounds(150);
  assert.equal(host.memory, before);
});

test('a response that is too large is refused unread', () => {
  const host = createHost();
  const request = host.request(head('upgrade'));
  host.answer(host.calls[0], 200, ' '.repeat(300_000));
  assertRefused(request, 'service-response-invalid', 502);
});
