// A WebSocket that reconnects: the interface of one socket over a sequence of connections.

import { backoff } from './backoff.js';

/** Close codes of the gateway: the session has expired; the session was ended by a logout or an operator. */
const EXPIRED = 4401;
const REVOKED = 4403;
/** The engine is drained: another engine takes the next connection. */
const DRAINED = 4503;
/** Longest reconnection delay in milliseconds after a drain. */
const MAX_DRAIN_DELAY_MS = 250;
const NORMAL_CLOSURE = 1000;
const CLOSED_BY_PAGE = { code: NORMAL_CLOSURE, reason: '', wasClean: true };
const TAB_KEY = 'berth-tab';
const DEFAULTS = { minDelay: 500, maxDelay: 30_000, attempts: Infinity, stableAfter: 5000 };

/** This tab's id for the placement service. */
function tabId() {
  const stored = sessionStorage.getItem(TAB_KEY);
  if (stored) return stored;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  sessionStorage.setItem(TAB_KEY, id);
  return id;
}

function socketUrl(text) {
  const url = new URL(text, location.href);
  url.protocol = url.protocol.replace(/^http/, 'ws');
  // Appended to the text: setting a parameter would re-encode the others.
  if (!url.searchParams.has('berth_tab')) url.search += `${url.search ? '&' : '?'}berth_tab=${tabId()}`;
  return url.href;
}

/**
 * The interface of `WebSocket`. `open` fires for every connection, `close` once, when the socket is closed
 * permanently. The event `state` has `{state, attempt, delay, code}` in `detail`; `state` is `connecting`, `open`,
 * `waiting` (for the next attempt), `login` (for the user) or `closed`. While the socket is connecting, `send` throws:
 * only the application knows which messages to repeat on a new connection.
 */
export class BerthSocket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  CONNECTING = 0;
  OPEN = 1;
  CLOSING = 2;
  CLOSED = 3;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  /** `connecting`, `open`, `waiting`, `login` or `closed`. */
  state = 'connecting';
  #session;
  #protocols;
  #options;
  #binaryType = 'blob';
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #closing = false;

  constructor(url, protocols = [], options = {}, session) {
    super();
    this.url = socketUrl(url);
    this.#protocols = protocols;
    this.#options = { ...DEFAULTS, ...options };
    this.#session = session;
    this.#connect();
  }

  get readyState() {
    if (this.state === 'closed') return this.CLOSED;
    if (this.#closing) return this.CLOSING;
    return this.state === 'open' ? this.OPEN : this.CONNECTING;
  }

  get protocol() {
    return this.#socket.protocol;
  }

  get extensions() {
    return this.#socket.extensions;
  }

  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(type) {
    this.#binaryType = type;
    this.#socket.binaryType = type;
  }

  send(data) {
    if (this.readyState === this.CONNECTING) {
      throw new DOMException('The socket is not open (again) yet.', 'InvalidStateError');
    }
    this.#socket.send(data);
  }

  /** Closes it permanently. Without a code with 1000, which ends the engine session. */
  close(code = NORMAL_CLOSURE, reason = '') {
    if (this.#closing || this.state === 'closed') return;
    // This call checks the arguments, and has no effect on a closed socket.
    this.#socket.close(code, reason);
    this.#closing = true;
    if (this.state === 'waiting' || this.state === 'login') {
      clearTimeout(this.#timer);
      queueMicrotask(() => this.#closeForGood(CLOSED_BY_PAGE));
    }
  }

  #connect() {
    this.#setState('connecting');
    const socket = new WebSocket(this.url, this.#protocols);
    let openedAt = null;
    socket.binaryType = this.#binaryType;
    socket.onopen = () => {
      openedAt = performance.now();
      this.#setState('open');
      this.#dispatch(new Event('open'));
    };
    socket.onmessage = ({ data, origin }) => this.#dispatch(new MessageEvent('message', { data, origin }));
    socket.onclose = (event) => this.#onConnectionLost(event, openedAt);
    this.#socket = socket;
  }

  #onConnectionLost(event, openedAt) {
    if (this.#closing || event.code === NORMAL_CLOSURE || event.code === REVOKED) return this.#closeForGood(event);
    if (openedAt !== null && performance.now() - openedAt >= this.#options.stableAfter) this.#attempt = 0;
    if (event.code === DRAINED) return this.#reconnect(event, Math.random() * MAX_DRAIN_DELAY_MS);
    if (event.code === EXPIRED || openedAt === null) return this.#checkSession(event);
    return this.#reconnect(event);
  }

  /** The session may have ended: a browser does not report why an upgrade was rejected. */
  async #checkSession(event) {
    if (event.code !== EXPIRED) {
      const session = await this.#session.query().catch(() => null);
      if (this.#closing) return this.#closeForGood(CLOSED_BY_PAGE);
      if (!session?.anonymous) return this.#reconnect(event);
      // No earlier login, so no dialog.
      if (!this.#session.account) return this.#closeForGood(event);
    }
    this.#setState('login', { code: event.code });
    const hasSession = await this.#session.relogin();
    if (hasSession) this.#reconnect(event);
    else this.#closeForGood({ code: EXPIRED, reason: 'session expired', wasClean: event.wasClean });
  }

  #reconnect(event, delay = backoff(this.#attempt, this.#options)) {
    if (this.#closing) return this.#closeForGood(CLOSED_BY_PAGE);
    if (this.#attempt >= this.#options.attempts) return this.#closeForGood(event);
    this.#attempt += 1;
    this.#setState('waiting', { attempt: this.#attempt, delay, code: event.code });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #closeForGood({ code, reason, wasClean }) {
    if (this.state === 'closed') return;
    this.#setState('closed', { code });
    if (!wasClean) this.#dispatch(new Event('error'));
    this.#dispatch(new CloseEvent('close', { code, reason, wasClean }));
  }

  #setState(state, detail = {}) {
    this.state = state;
    this.#dispatch(new CustomEvent('state', { detail: { state, ...detail } }));
  }

  #dispatch(event) {
    this.dispatchEvent(event);
    this[`on${event.type}`]?.(event);
  }
}
