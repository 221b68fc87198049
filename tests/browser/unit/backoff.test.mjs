// The pure functions of the browser module, in Node.

import assert from 'node:assert/strict';
import test from 'node:test';
import { backoff } from '../../../placement-service/assets/berth/backoff.js';
import { clock, plan } from '../../../placement-service/assets/berth/plan.js';

const bounds = { minDelay: 500, maxDelay: 30_000 };

test('the ceiling doubles up to its bound', () => {
  const all = [0, 1, 2, 3, 6, 7, 1000].map((attempt) => backoff(attempt, bounds, () => 1));
  assert.deepEqual(all, [500, 1000, 2000, 4000, 30_000, 30_000, 30_000]);
});

test('the jitter is full: from zero to the ceiling', () => {
  assert.equal(backoff(3, bounds, () => 0), 0);
  assert.equal(backoff(3, bounds, () => 0.25), 1000);
  const delays = Array.from({ length: 1000 }, () => backoff(2, bounds));
  assert.ok(Math.min(...delays) < 200 && Math.max(...delays) > 1800 && Math.max(...delays) <= 2000);
});

test('the plan is to wait, to warn of the earlier end, or that the session has ended', () => {
  const remaining = (idle, absolute) => ({ anonymous: false, idle_remaining_s: idle, absolute_remaining_s: absolute });
  assert.deepEqual(plan({ anonymous: true }, 60), { step: 'ended' });
  assert.deepEqual(plan(remaining(90, 9000), 60), { step: 'wait', ms: 30_000 });
  assert.deepEqual(plan(remaining(61, 9000), 60), { step: 'wait', ms: 1000 });
  assert.deepEqual(plan(remaining(1800, 9000), 60), { step: 'wait', ms: 300_000 }, 'the service is queried regularly');
  assert.deepEqual(plan(remaining(60, 9000), 60), { step: 'warn', kind: 'idle', remaining: 60 });
  assert.deepEqual(plan(remaining(0, 9000), 60), { step: 'warn', kind: 'idle', remaining: 0 });
  assert.deepEqual(plan(remaining(40, 40), 60), { step: 'warn', kind: 'absolute', remaining: 40 });
});

test('the clock shows minutes and seconds', () => {
  assert.deepEqual([65, 60, 59.2, 9, 0, -3].map(clock), ['1:05', '1:00', '1:00', '0:09', '0:00', '0:00']);
});
