// This tab's knowledge of the login session, and the operations that change it. One login serves all waiting calls,
// sockets and tabs.

import { loginDialog } from './login.js';

const CHANNEL = 'berth';
/** Stores the account for pages that are loaded after the end of the session. */
const KNOWN_KEY = 'berth-account';

/** The login session from the view of this tab. */
export class State {
  #options;
  /** The account of the latest session in this page, and its provider if it has one. */
  #known = null;
  #listeners = new Set();
  #onExpired = new Set();
  #channel = new BroadcastChannel(CHANNEL);
  #relogin = null;
  /** The page is about to be left: further results are ignored. */
  #leaving = false;

  constructor(options) {
    this.#options = options;
    this.#channel.onmessage = ({ data }) => {
      if (data === 'logout' && this.account) this.#loggedOut();
      else this.ask().catch(() => {});
    };
  }

  /** The account of the current or ended session; `undefined` without an earlier login. */
  get account() {
    return this.#who()?.account;
  }

  /** Queries the service. The query is not an activity. */
  async ask() {
    return this.#learn(await call('GET', '/session'));
  }

  /** Restarts the idle time. */
  async renew() {
    const session = this.#learn(await call('POST', '/session/renew'));
    this.#channel.postMessage('renewed');
    return session;
  }

  /** Ends the session and opens the home page, or the identity provider's logout page if there is one. */
  async logout() {
    let answer;
    try {
      // `keepalive` completes the request even if the page is left at once.
      answer = await call('POST', '/logout', undefined, { keepalive: true });
    } finally {
      this.#channel.postMessage('logout');
      this.#loggedOut(answer?.logout_url);
    }
  }

  /** Calls `listener` with every response of the service. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls `callback` when the session has ended. */
  onExpired(callback) {
    this.#onExpired.add(callback);
    return () => this.#onExpired.delete(callback);
  }

  /**
   * Ensures a session: at once if there is one, otherwise with the dialog, which is shown once for all waiting calls.
   * Resolves to `false` when the user cancels. `early` shows the dialog although the session is still active.
   */
  relogin({ early = false } = {}) {
    this.#relogin ??= this.#again(early).finally(() => {
      this.#relogin = null;
    });
    return this.#relogin;
  }

  async #again(early) {
    // The session may be active: another call or tab can have renewed it.
    const session = await this.ask().catch(() => ({ anonymous: true }));
    if (this.#leaving) return false;
    if (!session.anonymous && !early) return true;
    if (session.anonymous) this.#tellExpired();
    const dialog = loginDialog({
      name: this.account,
      provider: this.#who()?.provider,
      texts: this.#options.texts,
      early: !session.anonymous,
      logIn: (name, password) => this.#logIn(name, password, dialog),
    });
    // A login elsewhere, such as in another tab, extends the absolute time.
    const stop = this.listen((now) => {
      if (!now.anonymous && !(now.absolute_remaining_s <= session.absolute_remaining_s)) dialog.close();
    });
    const back = await dialog.answered;
    stop();
    if (!back && session.anonymous) this.#leave();
    return back && !this.#leaving;
  }

  /** Resolves to an error message for the user, or to nothing after a successful login. */
  async #logIn(username, password, dialog) {
    const { texts } = this.#options;
    const expected = this.account;
    let account;
    try {
      ({ account } = await call('POST', '/login', { username, password }));
    } catch (error) {
      return { 401: texts.wrong, 429: texts.tooMany }[error.status] ?? texts.failed;
    }
    if (expected && account !== expected) {
      // The page shows data of another account.
      await this.logout().catch(() => {});
      return undefined;
    }
    this.#channel.postMessage('login');
    await this.ask().catch(() => {});
    dialog.close();
    return undefined;
  }

  #who() {
    return this.#known ?? JSON.parse(sessionStorage.getItem(KNOWN_KEY));
  }

  #learn(session) {
    if (this.#leaving) return session;
    if (!session.anonymous) {
      const before = this.#known;
      const { account, provider } = session;
      this.#known = { account, provider };
      sessionStorage.setItem(KNOWN_KEY, JSON.stringify(this.#known));
      // The page shows data of another account. A provider's account is not the local account of the same name.
      if (before && (before.account !== account || before.provider !== provider)) this.#leave();
    }
    for (const listener of this.#listeners) listener(session);
    return session;
  }

  #tellExpired() {
    const { account } = this;
    for (const callback of this.#onExpired) {
      try {
        callback({ account });
      } catch (error) {
        reportError(error);
      }
    }
  }

  #loggedOut(url) {
    sessionStorage.removeItem(KNOWN_KEY);
    this.#leave(url);
  }

  #leave(url = this.#options.home) {
    this.#leaving = true;
    location.assign(url);
  }
}

/** Calls the service. Rejects with an error that has the `status` of an unsuccessful response. */
async function call(method, path, body, more) {
  const headers = { accept: 'application/json' };
  if (body) headers['content-type'] = 'application/json';
  const answer = await fetch(path, {
    method, headers, body: body && JSON.stringify(body), cache: 'no-store', credentials: 'same-origin', redirect: 'error',
    ...more,
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw Object.assign(new Error(`${method} ${path}: ${answer.status}`), { status: answer.status });
}
