// What to do about the time that a session has left. Pure: no clock, no page.

/** Asked again after so long at the latest: machines that sleep stop timers. */
const AT_LATEST_MS = 5 * 60_000;

/**
 * Of an answer of `GET /session`: `{what: 'over'}`, `{what: 'wait', ms}` or `{what: 'warn', kind, left}`, where
 * `kind` says which end comes first: `idle` can be put off, `absolute` cannot; `left` in seconds.
 */
export function plan(session, warnBefore) {
  if (session.anonymous) return { what: 'over' };
  const { idle_remaining_s: idle, absolute_remaining_s: absolute } = session;
  const left = Math.min(idle, absolute);
  if (left > warnBefore) return { what: 'wait', ms: Math.min((left - warnBefore) * 1000, AT_LATEST_MS) };
  // The service never says that idling may last longer than the session.
  return { what: 'warn', kind: absolute <= idle ? 'absolute' : 'idle', left };
}

/** `1:05` */
export function clock(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}
