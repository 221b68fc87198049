// The delay before the next attempt. Pure: no clock, no page.

/**
 * Exponential back-off with full jitter: any delay from 0 to the ceiling, so that a thousand browsers of a dead
 * engine do not reconnect at the same moment. `attempt` counts from 0; delays are in milliseconds.
 */
export function backoff(attempt, { minDelay, maxDelay }, random = Math.random) {
  return random() * Math.min(maxDelay, minDelay * 2 ** attempt);
}
