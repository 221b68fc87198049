// Watches the time that the session has left: warns before its end, and requests a login after it. It queries the
// service at every step, because this machine's clock is not reliable.

import { plan } from './plan.js';
import { warningDialog } from './warning.js';

const SECOND_MS = 1000;
/** Query interval during a warning: another tab or a call can be activity. */
const ASK_EVERY_S = 5;
/** Delay after a failed query. */
const RETRY_MS = 15 * SECOND_MS;

/** Watches one tab's session. */
export class Watch {
  #state;
  #options;
  #timer = 0;
  #started = false;
  /** Whether this page has had an active session. */
  #lived = false;
  #warning = null;
  /** The kind of warning that the user has dismissed. */
  #dismissed = null;

  constructor(state, options) {
    this.#state = state;
    this.#options = options;
  }

  /** Starts watching. */
  start() {
    this.#started = true;
    this.#state.listen((session) => this.#follow(session));
    // Timers do not run while a machine sleeps.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.check();
    });
    addEventListener('focus', () => this.check());
    addEventListener('pageshow', (event) => {
      if (event.persisted) this.#cameBack();
    });
    this.check();
  }

  /** Queries the service and follows its response. */
  async check() {
    if (!this.#started) return;
    try {
      await this.#state.ask();
    } catch {
      this.#wake(RETRY_MS, () => this.check());
    }
  }

  #follow(session) {
    const next = plan(session, this.#options.warnBefore);
    if (next.what !== 'warn') {
      this.#close();
      this.#dismissed = null;
    }
    if (next.what === 'over') {
      clearTimeout(this.#timer);
      if (this.#lived) this.#state.relogin();
      this.#lived = false;
      return;
    }
    this.#lived = true;
    if (next.what === 'wait') return this.#wake(next.ms, () => this.check());
    if (this.#warning?.kind !== next.kind) {
      this.#close();
      if (this.#dismissed !== next.kind) this.#warn(next.kind);
    }
    this.#countDown(Date.now() + next.left * SECOND_MS, ASK_EVERY_S);
  }

  #countDown(end, steps) {
    const left = (end - Date.now()) / SECOND_MS;
    this.#warning?.tell(left);
    const ask = steps === 0 || left <= 0;
    this.#wake(SECOND_MS, () => (ask ? this.check() : this.#countDown(end, steps - 1)));
  }

  #warn(kind) {
    const state = this.#state;
    const dismissed = () => {
      this.#warning = null;
      this.#dismissed = kind;
    };
    const close = () => {
      this.#close();
      dismissed();
    };
    const renew = () => state.renew().then(() => true, () => false);
    const logInNow = async () => {
      close();
      await state.relogin({ early: true });
      return true;
    };
    this.#warning = warningDialog({
      kind,
      texts: this.#options.texts,
      first: kind === 'idle' ? renew : logInNow,
      second: kind === 'idle' ? () => state.logout().catch(() => {}) : close,
      dismissed,
    });
  }

  /** The browser restored a page that was left earlier: reload it if its account is no longer logged in. */
  async #cameBack() {
    document.documentElement.hidden = true;
    const before = this.#state.account;
    const session = await this.#state.ask().catch(() => ({ anonymous: true }));
    if (session.anonymous || session.account !== before) location.reload();
    else document.documentElement.hidden = false;
  }

  #wake(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }

  #close() {
    this.#warning?.close();
    this.#warning = null;
  }
}
