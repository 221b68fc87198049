// Berth's browser module: calls, sockets and pages outlive their login session, because the user is asked to
// log in again in place. Importing it is enough for the warning before the end; see README.md beside this file.

import { withRelogin } from './retry.js';
import { BerthSocket } from './socket.js';
import { State } from './state.js';
import { TEXTS } from './texts.js';
import { Watch } from './watch.js';

const options = { warnBefore: 60, home: '/', texts: TEXTS };
const state = new State(options);
const watch = new Watch(state, options);

/**
 * Changes what the module does: `warnBefore` (seconds before the end of the session; less than its idle timeout),
 * `home` (where a user goes who cancels), `texts` (those of `texts.js` that shall read otherwise).
 */
export function configure({ texts = {}, ...changes }) {
  Object.assign(options, changes, { texts: { ...options.texts, ...texts } });
  watch.check();
}

/**
 * The session: `{anonymous: false, account, roles, provider?, idle_remaining_s, absolute_remaining_s}`, or
 * `{anonymous: true}`. Asking does not count as activity. Rejects when the service does not answer.
 */
export function session() {
  return state.ask();
}

/** Calls back with `{account}` whenever the session turns out to be over. Returns a function that stops it. */
export function onExpired(callback) {
  return state.onExpired(callback);
}

/**
 * `fetch`, but a call that finds the session expired (440) waits for the login and is sent once more. The answer
 * is 440 still when the user gives up, or when the second one is.
 */
export function fetch(input, init) {
  const send = (request) => globalThis.fetch(request);
  return withRelogin(input, init, { send, relogin: () => state.relogin(), origin: location.origin });
}

/** "Stay signed in": begins the idle time anew. Resolves with the session as it is then. */
export function renew() {
  return state.renew();
}

/** Ends the session, here and in all tabs, and goes home. */
export function logout() {
  return state.logout();
}

/**
 * A WebSocket that connects again when it is cut, and asks for a login when the session is over. It has the
 * surface of `WebSocket`; options: `minDelay`, `maxDelay` (milliseconds of the back-off), `attempts`, `stableAfter`.
 */
export function openSocket(url, protocols, socketOptions) {
  return new BerthSocket(url, protocols, socketOptions, state);
}

// Whoever imports this may configure it first.
queueMicrotask(() => watch.start());
