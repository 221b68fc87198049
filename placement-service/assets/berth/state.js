// This tab's knowledge of the login session, and the operations that change it. One login serves all waiting calls,
// sockets and tabs.

import { call } from './call.js';
import { loginDialog } from './login.js';

const CHANNEL = 'berth';
/** Stores the account for pages that are loaded after the end of the session. */
const ACCOUNT_KEY = 'berth-account';

/** The login session from the view of this tab. */
export class State {
  #options;
  /** The account of the latest session in this page, its provider if it has one, and the user's name for people. */
  #identity = null;
  #listeners = new Set();
  #onExpired = new Set();
  #channel = new BroadcastChannel(CHANNEL);
  #relogin = null;
  /** The page is about to be left: further results are ignored. */
  #isLeaving = false;

  constructor(options) {
    this.#options = options;
    this.#channel.onmessage = ({ data }) => {
      if (data === 'logout' && this.account) this.#openAfterLogout();
      else this.query().catch(() => {});
    };
  }

  /** The account of the current or ended session; `undefined` without an earlier login. */
  get account() {
    return this.#storedIdentity()?.account;
  }

  /** Queries the service. The query is not an activity. */
  async query() {
    return this.#applySession(await call('GET', '/session'));
  }

  /** Restarts the idle time. */
  async renew() {
    const session = this.#applySession(await call('POST', '/session/renew'));
    this.#channel.postMessage('renewed');
    return session;
  }

  /** Ends the session and opens the home page, or the identity provider's logout page if there is one. */
  async logout() {
    let response;
    try {
      // `keepalive` completes the request even if the page is left at once.
      response = await call('POST', '/logout', undefined, { keepalive: true });
    } finally {
      this.#channel.postMessage('logout');
      this.#openAfterLogout(response?.logout_url);
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
    this.#relogin ??= this.#ensureSession(early).finally(() => {
      this.#relogin = null;
    });
    return this.#relogin;
  }

  async #ensureSession(early) {
    // The session may be active: another call or tab may have renewed it.
    const session = await this.query().catch(() => ({ anonymous: true }));
    if (this.#isLeaving) return false;
    if (!session.anonymous && !early) return true;
    if (session.anonymous) this.#notifyExpired();
    const dialog = loginDialog({
      name: this.account,
      provider: this.#storedIdentity()?.provider,
      displayName: this.#storedIdentity()?.displayName,
      texts: this.#options.texts,
      early: !session.anonymous,
      logIn: (name, password) => this.#logIn(name, password, dialog),
    });
    // A login elsewhere, such as in another tab, extends the absolute time.
    const unsubscribe = this.listen((current) => {
      if (!current.anonymous && !(current.absolute_remaining_s <= session.absolute_remaining_s)) dialog.close();
    });
    const hasSession = await dialog.closed;
    unsubscribe();
    if (!hasSession && session.anonymous) this.#openPage();
    return hasSession && !this.#isLeaving;
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
    await this.query().catch(() => {});
    dialog.close();
    return undefined;
  }

  #storedIdentity() {
    return this.#identity ?? JSON.parse(sessionStorage.getItem(ACCOUNT_KEY));
  }

  #applySession(session) {
    if (this.#isLeaving) return session;
    if (!session.anonymous) {
      const previous = this.#identity;
      const { account, provider, display_name: displayName } = session;
      this.#identity = { account, provider, displayName };
      sessionStorage.setItem(ACCOUNT_KEY, JSON.stringify(this.#identity));
      // The page shows data of another account.
      if (previous && previous.account !== account) this.#openPage();
    }
    for (const listener of this.#listeners) listener(session);
    return session;
  }

  #notifyExpired() {
    const { account } = this;
    for (const callback of this.#onExpired) {
      try {
        callback({ account });
      } catch (error) {
        reportError(error);
      }
    }
  }

  #openAfterLogout(url) {
    sessionStorage.removeItem(ACCOUNT_KEY);
    this.#openPage(url);
  }

  #openPage(url = this.#options.home) {
    this.#isLeaving = true;
    location.assign(url);
  }
}
