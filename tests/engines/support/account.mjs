// What a browser with a login adds to the requests of a page's client library: cookies, origin and referer.

import WebSocket from 'ws';
import { login } from '../../clients/login.mjs';

export class Account {
  #cookies = new Map();

  /** `headers` are sent with each request: without Berth, a test names the account to the engine by itself. */
  constructor(url, headers = {}) {
    this.url = url;
    this.headers = headers;
    const account = this;
    /** A WebSocket with the cookies and the origin of this account. */
    this.WebSocket = class extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { headers: { ...headers, cookie: account.cookieHeader(), origin: url } });
        // Without a listener, the error of a rejected upgrade would end this process.
        this.on('error', () => {});
        this.on('unexpected-response', (request, response) => {
          this.status = response.statusCode;
          request.destroy();
          this.emit('error', new Error(`upgrade: ${response.statusCode}`));
        });
      }
    };
  }

  async logIn(name, password) {
    this.#store([await login(this.url, name, password)]);
    return this;
  }

  async logOut() {
    const reply = await this.fetch(`${this.url}/logout`, { method: 'POST' });
    if (!reply.ok) throw new Error(`logout: ${reply.status}`);
  }

  cookie(name) {
    return this.#cookies.get(name);
  }

  cookieHeader() {
    return [...this.#cookies].map((pair) => pair.join('=')).join('; ');
  }

  /** As `fetch`, with the cookies of earlier responses. */
  fetch = async (input, init) => {
    const request = new Request(input, init);
    for (const [name, value] of Object.entries({ ...this.headers, cookie: this.cookieHeader(), origin: this.url, referer: `${this.url}/` })) {
      request.headers.set(name, value);
    }
    const reply = await fetch(request, { redirect: 'manual' });
    this.#store(reply.headers.getSetCookie().map((setCookie) => setCookie.split(';')[0]));
    return reply;
  };

  #store(pairs) {
    for (const pair of pairs) {
      const at = pair.indexOf('=');
      this.#cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
  }
}
