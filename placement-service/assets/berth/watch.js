// Watches the remaining time of the session: warns before its end, and requests a login after it. It queries the
// service at every step, because this machine's clock is not reliable.

import { plan } from './plan.js';
import { warningDialog } from './warning.js';

const SECOND_MS = 1000;
/** Query interval during a warning: another tab or a call can be activity. */
const QUERY_INTERVAL_S = 5;
/** Delay after a failed query. */
const RETRY_MS = 15 * SECOND_MS;

/** Watches one tab's session. */
export class Watch {
  #state;
  #options;
  #timer = 0;
  #started = false;
  /** Whether this page has had an active session. */
  #hadSession = false;
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
    this.#state.listen((session) => this.#applySession(session));
    // Timers do not run while a machine sleeps.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.check();
    });
    addEventListener('focus', () => this.check());
    addEventListener('pageshow', (event) => {
      if (event.persisted) this.#onRestored();
    });
    this.check();
  }

  /** Queries the service and follows its response. */
  async check() {
    if (!this.#started) return;
    try {
      await this.#state.query();
    } catch {
      this.#schedule(RETRY_MS, () => this.check());
    }
  }

  #applySession(session) {
    const next = plan(session, this.#options.warnBefore);
    if (next.step !== 'warn') {
      this.#close();
      this.#dismissed = null;
    }
    if (next.step === 'ended') {
      clearTimeout(this.#timer);
      if (this.#hadSession) this.#state.relogin();
      this.#hadSession = false;
      return;
    }
    this.#hadSession = true;
    if (next.step === 'wait') return this.#schedule(next.ms, () => this.check());
    if (this.#warning?.kind !== next.kind) {
      this.#close();
      if (this.#dismissed !== next.kind) this.#warn(next.kind);
    }
    this.#countDown(Date.now() + next.remaining * SECOND_MS, QUERY_INTERVAL_S);
  }

  #countDown(end, secondsToQuery) {
    const remaining = (end - Date.now()) / SECOND_MS;
    this.#warning?.update(remaining);
    const isQueryDue = secondsToQuery === 0 || remaining <= 0;
    this.#schedule(SECOND_MS, () => (isQueryDue ? this.check() : this.#countDown(end, secondsToQuery - 1)));
  }

  #warn(kind) {
    const state = this.#state;
    const onDismiss = () => {
      this.#warning = null;
      this.#dismissed = kind;
    };
    const close = () => {
      this.#close();
      onDismiss();
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
      onPrimary: kind === 'idle' ? renew : logInNow,
      onSecondary: kind === 'idle' ? () => state.logout().catch(() => {}) : close,
      onDismiss,
    });
  }

  /** The browser restored a page that was left earlier: reload it if its account is no longer logged in. */
  async #onRestored() {
    document.documentElement.hidden = true;
    const accountBefore = this.#state.account;
    const session = await this.#state.query().catch(() => ({ anonymous: true }));
    if (session.anonymous || session.account !== accountBefore) location.reload();
    else document.documentElement.hidden = false;
  }

  #schedule(ms, callback) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(callback, ms);
  }

  #close() {
    this.#warning?.close();
    this.#warning = null;
  }
}
