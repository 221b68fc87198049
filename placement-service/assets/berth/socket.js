// A WebSocket that reconnects: the interface of one socket over a sequence of connections.

import { backoff } from './backoff.js';

/** Close codes of the gateway: the session has expired; the session was ended by a logout or an operator. */
const EXPIRED = 4401;
const REVOKED = 4403;
/** The engine is drained: another engine takes the next connection. */
const DRAINED = 4503;
/** Longest reconnection delay in milliseconds after a drain. */
const SOON = 250;
const NORMAL = 1000;
const CLOSED_BY_US = { code: NORMAL, reason: '', wasClean: true };
const TAB_KEY = 'berth-tab';
const DEFAULTS = { minDelay: 500, maxDelay: 30_000, attempts: Infinity, stableAfter: 5000 };

/** This tab's id for the placement service. */
function tab() {
  const known = sessionStorage.getItem(TAB_KEY);
  if (known) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const fresh = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  sessionStorage.setItem(TAB_KEY, fresh);
  return fresh;
}

function socketUrl(text) {
  const url = new URL(text, location.href);
  url.protocol = url.protocol.replace(/^http/, 'ws');
  // Appended to the text: setting a parameter would re-encode the others.
  if (!url.searchParams.has('berth_tab')) url.search += `${url.search ? '&' : '?'}berth_tab=${tab()}`;
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

  /** Closes it permanently. */
  close(code, reason) {
    if (this.#closing || this.state === 'closed') return;
    // This call checks the arguments, and has no effect on a closed socket.
    if (code === undefined) this.#socket.close();
    else this.#socket.close(code, reason);
    this.#closing = true;
    if (this.state === 'waiting' || this.state === 'login') {
      clearTimeout(this.#timer);
      queueMicrotask(() => this.#end(CLOSED_BY_US));
    }
  }

  #connect() {
    this.#become('connecting');
    const socket = new WebSocket(this.url, this.#protocols);
    let opened = null;
    socket.binaryType = this.#binaryType;
    socket.onopen = () => {
      opened = performance.now();
      this.#become('open');
      this.#emit(new Event('open'));
    };
    socket.onmessage = ({ data, origin }) => this.#emit(new MessageEvent('message', { data, origin }));
    socket.onclose = (event) => this.#cut(event, opened);
    this.#socket = socket;
  }

  #cut(event, opened) {
    if (this.#closing || event.code === NORMAL || event.code === REVOKED) return this.#end(event);
    if (opened !== null && performance.now() - opened >= this.#options.stableAfter) this.#attempt = 0;
    if (event.code === DRAINED) return this.#again(event, Math.random() * SOON);
    if (event.code === EXPIRED || opened === null) return this.#askFirst(event);
    return this.#again(event);
  }

  /** The session may have ended: a browser does not report why an upgrade was rejected. */
  async #askFirst(event) {
    if (event.code !== EXPIRED) {
      const session = await this.#session.ask().catch(() => null);
      if (this.#closing) return this.#end(CLOSED_BY_US);
      if (!session?.anonymous) return this.#again(event);
      // No earlier login, so no dialog.
      if (!this.#session.account) return this.#end(event);
    }
    this.#become('login', { code: event.code });
    const back = await this.#session.relogin();
    if (back) this.#again(event);
    else this.#end({ code: EXPIRED, reason: 'session expired', wasClean: event.wasClean });
  }

  #again(event, delay = backoff(this.#attempt, this.#options)) {
    if (this.#closing) return this.#end(CLOSED_BY_US);
    if (this.#attempt >= this.#options.attempts) return this.#end(event);
    this.#attempt += 1;
    this.#become('waiting', { attempt: this.#attempt, delay, code: event.code });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #end({ code, reason, wasClean }) {
    if (this.state === 'closed') return;
    this.#become('closed', { code });
    if (!wasClean) this.#emit(new Event('error'));
    this.#emit(new CloseEvent('close', { code, reason, wasClean }));
  }

  #become(state, detail = {}) {
    this.state = state;
    this.#emit(new CustomEvent('state', { detail: { state, ...detail } }));
  }

  #emit(event) {
    this.dispatchEvent(event);
    this[`on${event.type}`]?.(event);
  }
}
