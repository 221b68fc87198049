// How long to wait before the next attempt. Pure.

/**
 * Exponential back-off with full jitter: anything from 0 to the ceiling, so that a thousand browsers whose engine
 * has died do not come back at the same moment. `attempt` counts from 0; milliseconds.
 */
export function backoff(attempt, { minDelay, maxDelay }, random = Math.random) {
  return random() * Math.min(maxDelay, minDelay * 2 ** attempt);
}
