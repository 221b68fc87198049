// What this tab knows of the login session, and the ways to change it. One login serves all calls, sockets and tabs
// that wait for it.

import { loginDialog } from './login.js';

const CHANNEL = 'berth';
/** Who it was, for a page that is loaded when the session is over already. */
const KNOWN_KEY = 'berth-account';

/** The login session as this tab sees it. */
export class State {
  #options;
  /** Whose the latest session in this page is: account, and provider if it is one's. */
  #known = null;
  #listeners = new Set();
  #onExpired = new Set();
  #channel = new BroadcastChannel(CHANNEL);
  #relogin = null;
  /** The page is about to be left: nothing matters any more. */
  #leaving = false;

  constructor(options) {
    this.#options = options;
    this.#channel.onmessage = ({ data }) => {
      if (data === 'logout' && this.account) this.#loggedOut();
      else this.ask().catch(() => {});
    };
  }

  /** The account whose session this is or was; nothing when nobody has been logged in. */
  get account() {
    return this.#who()?.account;
  }

  /** Asks the service. Not an activity. */
  async ask() {
    return this.#learn(await call('GET', '/session'));
  }

  /** Begins the idle time anew. */
  async renew() {
    const session = this.#learn(await call('POST', '/session/renew'));
    this.#channel.postMessage('renewed');
    return session;
  }

  /** Ends the session and goes home; to the identity provider first, if it has to log the user out too. */
  async logout() {
    let answer;
    try {
      // The page may be left at once: the browser says it all the same.
      answer = await call('POST', '/logout', undefined, { keepalive: true });
    } finally {
      this.#channel.postMessage('logout');
      this.#loggedOut(answer?.logout_url);
    }
  }

  /** Calls `listener` with every answer of the service. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls `callback` whenever the session turns out to be over. */
  onExpired(callback) {
    this.#onExpired.add(callback);
    return () => this.#onExpired.delete(callback);
  }

  /**
   * Makes sure that there is a session: at once when there is one, else by the dialog, which is shown once however
   * many wait. Resolves to `false` when the user gives up. `early` asks although there still is a session.
   */
  relogin({ early = false } = {}) {
    this.#relogin ??= this.#again(early).finally(() => {
      this.#relogin = null;
    });
    return this.#relogin;
  }

  async #again(early) {
    // It may live: another call or tab may have seen to it already.
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
    // Somebody may log in elsewhere, in another tab for instance: then the end is farther away than it was.
    const stop = this.listen((now) => {
      if (!now.anonymous && !(now.absolute_remaining_s <= session.absolute_remaining_s)) dialog.close();
    });
    const back = await dialog.answered;
    stop();
    if (!back && session.anonymous) this.#leave();
    return back && !this.#leaving;
  }

  /** Resolves to what to tell the user, or to nothing when he is in. */
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
      // What the page shows is not for this one.
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
      // What the page shows is not for this one. A provider's account is not the local one of that name.
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

/** A call to the service; rejects with an error that has the `status` of an answer that is a refusal. */
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
