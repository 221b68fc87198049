// The case table through the built module: the same cases as filter/core/tests/table.rs, seen from Envoy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTINUE, Host, PAUSE, STATUS } from './host.mjs';
import { head, serviceBody, table } from './fixture.mjs';

const toSortedLines = (headers) => headers.map(([name, value]) => `${name}: ${Buffer.from(value, 'latin1').toString('latin1')}`).sort();

function expectedHeaders(entry) {
  const { gone: removed = [], set = {} } = entry.passed;
  const unchanged = head(entry.request, entry).filter(([name]) => !removed.includes(name) && !(name in set));
  const added = Object.entries(set).flatMap(([name, value]) => [value].flat().map((text) => [name, text]));
  return toSortedLines([...unchanged, ...added]);
}

/** The forwarded headers of a request, with `{nonce}` where the table has it and the header is one. */
function forwardedHeaders(entry, request) {
  const isNonce = ([name, value]) => entry.passed.set?.[name] === '{nonce}' && /^[A-Za-z0-9+/]{22}==$/.test(value);
  return request.headers.map((header) => (isNonce(header) ? [header[0], '{nonce}'] : header));
}

function checkCallout(entry, call) {
  const { path, body, cluster, authority, timeout_ms: timeout, authorization } = entry.callout;
  assert.equal(call.headers[':path'], path);
  assert.equal(call.headers[':method'], 'POST');
  const { gateway, ...sent } = JSON.parse(call.body);
  assert.deepEqual(sent, body);
  if (path === '/v1/placements') assert.match(gateway, /^[0-9a-f]{32}$/);
  if (cluster) assert.equal(call.cluster, cluster);
  if (authority) assert.match(call.headers[':authority'], new RegExp(`^[0-9]+\\.${authority}$`));
  if (timeout) assert.equal(call.timeout, timeout);
  if (authorization !== undefined) assert.equal(call.headers.authorization ?? null, authorization);
}

// Browsers get a page, other clients get problem details.
function checkBody(expected, reply) {
  if (Object.fromEntries(reply.headers)['content-type'].startsWith('text/html')) {
    assert.ok(reply.body.includes(`<code>${expected.reason}</code>`), reply.body);
    return;
  }
  const body = JSON.parse(reply.body);
  assert.equal(body.reason, expected.reason);
  assert.equal(body.status, expected.status);
  if (expected.detail) assert.equal(body.detail, expected.detail);
}

function checkReply(expected, request) {
  assert.equal(request.replies.length, 1);
  const [reply] = request.replies;
  assert.equal(reply.status, expected.status);
  if (expected.reason) {
    assert.equal(reply.details, expected.reason);
    checkBody(expected, reply);
  }
  const actual = Object.fromEntries(reply.headers);
  for (const [name, value] of Object.entries(expected.headers ?? {})) {
    assert.equal(actual[name] ?? null, value, name);
  }
}

// Cases share a host per configuration, as requests share a worker.
const hosts = new Map();

function hostOf(name) {
  if (!hosts.has(name)) {
    const host = new Host();
    assert.ok(host.configure(table.configs[name]), JSON.stringify(host.logs));
    hosts.set(name, host);
  }
  return hosts.get(name);
}

function runCase(entry) {
  const host = hostOf(entry.config ?? 'default');
  const { service } = entry;
  host.calls.length = 0;
  host.logs.length = 0;
  host.clusters = new Set(service?.failure === 'cluster-missing' ? [] : ['placement', 'svc']);
  host.fail = service?.failure === 'not-sent' ? { proxy_http_call: STATUS.INTERNAL_FAILURE } : {};
  const request = host.request(head(entry.request, entry));
  host.fail = {};
  const isCallExpected = service !== undefined && !['cluster-missing', 'not-sent'].includes(service.failure);
  assert.equal(host.calls.length, isCallExpected ? 1 : 0, 'callouts');
  if (isCallExpected) {
    const [call] = host.calls;
    assert.equal(request.action, PAUSE);
    assert.equal(request.replies.length + request.resumed, 0);
    if (entry.callout) checkCallout(entry, call);
    host.answer(call, service.status, serviceBody(service));
  }
  if (entry.passed) {
    assert.equal(request.replies.length, 0);
    assert.equal(request.resumed, isCallExpected ? 1 : 0);
    assert.equal(request.action, isCallExpected ? PAUSE : CONTINUE);
    assert.deepEqual(toSortedLines(forwardedHeaders(entry, request)), expectedHeaders(entry));
    if (entry.passed.session_ref) assert.equal(request.properties.berth.split(' ')[0], `session=${entry.passed.session_ref}`);
  } else {
    assert.equal(request.action, PAUSE);
    assert.equal(request.resumed, 0);
    checkReply(entry.reply, request);
  }
  const log = JSON.stringify(host.logs);
  for (const secret of ['abc', 'eyJ', 'Bearer']) assert.ok(!log.includes(secret), log);
  host.done(request);
}

for (const entry of table.cases) test(entry.name, () => runCase(entry));
