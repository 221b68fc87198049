// Decides the next step from the remaining time of a session. Pure: no clock, no page.

/** Longest wait between two queries: timers stop while a machine sleeps. */
const MAX_WAIT_MS = 5 * 60_000;

/**
 * The step for a response of `GET /session`: `{step: 'ended'}`, `{step: 'wait', ms}` or `{step: 'warn', kind, remaining}`.
 * `kind` is the earlier end: `idle`, which activity postpones, or `absolute`. `remaining` is in seconds.
 */
export function plan(session, warnBefore) {
  if (session.anonymous) return { step: 'ended' };
  const { idle_remaining_s: idle, absolute_remaining_s: absolute } = session;
  const remaining = Math.min(idle, absolute);
  if (remaining > warnBefore) return { step: 'wait', ms: Math.min((remaining - warnBefore) * 1000, MAX_WAIT_MS) };
  // The service limits the idle time to the absolute time.
  return { step: 'warn', kind: absolute <= idle ? 'absolute' : 'idle', remaining };
}

/** Formats seconds as `1:05`. */
export function clock(seconds) {
  const total = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(total / 60)}:${String(total % 60).padStart(2, '0')}`;
}
