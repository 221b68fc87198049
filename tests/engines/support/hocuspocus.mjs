// Hocuspocus servers, and clients with the login of an account.

import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider';
import fs from 'node:fs';
import * as Y from 'yjs';
import { waitUntil } from '../../clients/wait.mjs';
import { exampleFiles } from './example.mjs';
import { Program } from './program.mjs';

const folder = exampleFiles('hocuspocus');
const documents = `${folder}/documents`;
// The server finds its packages from its own folder.
fs.symlinkSync(new URL('../node_modules', import.meta.url).pathname, `${folder}/node_modules`);

/** Starts a server. All have the same documents. */
export const startServer = (name) => Program.start(name, folder, '/');

/** The messages of a server about documents that another server has locked. */
export const collisions = (server) => fs.readFileSync(server.log, 'utf8').match(/.*is open on another engine.*/g) ?? [];

/** Names of the documents that a server has locked. */
export function locked(server) {
  const locks = fs.readdirSync(documents).filter((name) => name.endsWith('.lock'));
  const isOwn = (name) => fs.readFileSync(`${documents}/${name}`, 'utf8') === String(server.child.pid);
  return locks.filter(isOwn).map((name) => decodeURIComponent(name.slice(0, -'.lock'.length)));
}

/** The edits of a document on the disk. */
export function stored(name) {
  const document = new Y.Doc();
  Y.applyUpdate(document, fs.readFileSync(`${documents}/${encodeURIComponent(name)}`));
  return document.getArray('edits').toArray();
}

/** A client of one document. */
export class Editor {
  /** Edits that the server has acknowledged. */
  acknowledged = [];
  closes = [];

  constructor(account, room, name = room) {
    this.room = room;
    this.socket = new HocuspocusProviderWebsocket({
      url: `${account.url.replace(/^http/, 'ws')}/documents/${encodeURIComponent(room)}`,
      WebSocketPolyfill: account.WebSocket,
      // Short, so that a moved client is back soon.
      delay: 200,
      minDelay: 100,
    });
    this.refusal = undefined;
    this.provider = new HocuspocusProvider({
      name,
      websocketProvider: this.socket,
      onAuthenticationFailed: ({ reason }) => {
        this.refusal = reason;
      },
    });
    this.provider.on('close', ({ event }) => this.closes.push(event.code));
    this.provider.attach();
    this.edits = this.provider.document.getArray('edits');
  }

  synced = () => waitUntil(`${this.room} is synced`, () => this.provider.isSynced, 60_000);

  /** Makes an edit and waits until the server has acknowledged it. */
  async edit(text) {
    this.edits.push([text]);
    const isAcknowledged = () => this.provider.isSynced && !this.provider.hasUnsyncedChanges;
    await waitUntil(`${text} is acknowledged`, isAcknowledged, 60_000);
    this.acknowledged.push(text);
  }

  sees = (text) => waitUntil(`${text} is seen`, () => this.edits.toArray().includes(text), 60_000);

  close() {
    this.provider.destroy();
    this.socket.destroy();
  }
}
