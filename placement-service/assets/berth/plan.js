// Decides the next step from the time that a session has left. Pure: no clock, no page.

/** Longest wait between two queries: timers stop while a machine sleeps. */
const AT_LATEST_MS = 5 * 60_000;

/**
 * The step for a response of `GET /session`: `{what: 'over'}`, `{what: 'wait', ms}` or `{what: 'warn', kind, left}`.
 * `kind` is the earlier end: `idle`, which activity postpones, or `absolute`. `left` is in seconds.
 */
export function plan(session, warnBefore) {
  if (session.anonymous) return { what: 'over' };
  const { idle_remaining_s: idle, absolute_remaining_s: absolute } = session;
  const left = Math.min(idle, absolute);
  if (left > warnBefore) return { what: 'wait', ms: Math.min((left - warnBefore) * 1000, AT_LATEST_MS) };
  // The service limits the idle time to the absolute time.
  return { what: 'warn', kind: absolute <= idle ? 'absolute' : 'idle', left };
}

/** Formats seconds as `1:05`. */
export function clock(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}
