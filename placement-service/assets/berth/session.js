// Berth's browser module: calls, sockets and pages survive the end of their login session, because a dialog lets the
// user log in again. Importing the module also enables the warning before the end. See README.md in this folder.

export { changePassword, endOtherSessions, endSession, sessions } from './account.js';
import { withRelogin } from './retry.js';
import { BerthSocket } from './socket.js';
import { State } from './state.js';
import { TEXTS } from './texts.js';
import { Watch } from './watch.js';

const options = { warnBefore: 60, home: '/', texts: TEXTS };
const state = new State(options);
const watch = new Watch(state, options);

/**
 * Configures the module: `warnBefore` (seconds between the warning and the end; less than the idle timeout), `home`
 * (the page after a cancelled login), `texts` (replacements for those of `texts.js`).
 */
export function configure({ texts = {}, ...changes }) {
  Object.assign(options, changes, { texts: { ...options.texts, ...texts } });
  watch.check();
}

/**
 * The session: `{anonymous: false, account, display_name, roles, provider?, idle_remaining_s,
 * absolute_remaining_s}`, or `{anonymous: true}`. `account` is a key, `display_name` is for people. The query is not an activity. Rejects when the service does not respond.
 */
export function session() {
  return state.query();
}

/** Calls `callback` with `{account}` when the session has ended. Returns a function that unsubscribes. */
export function onExpired(callback) {
  return state.onExpired(callback);
}

/**
 * Like `fetch`, but a call that gets 440 (session expired) waits for a login and is repeated once. Resolves to the
 * 440 when the user cancels, or when the repeated call gets 440 too.
 */
export function fetch(input, init) {
  const send = (request) => globalThis.fetch(request);
  return withRelogin(input, init, { send, relogin: () => state.relogin(), origin: location.origin });
}

/** "Stay signed in": restarts the idle time. Resolves to the renewed session. */
export function renew() {
  return state.renew();
}

/** Ends the session in all tabs and opens the home page. */
export function logout() {
  return state.logout();
}

/**
 * A WebSocket that reconnects after a lost connection, and requests a login when the session has ended. It has the
 * interface of `WebSocket`. Options: `minDelay`, `maxDelay` (back-off in milliseconds), `attempts`, `stableAfter`.
 */
export function openSocket(url, protocols, socketOptions) {
  return new BerthSocket(url, protocols, socketOptions, state);
}

// After the importing module, so that it can configure this one first.
queueMicrotask(() => watch.start());
