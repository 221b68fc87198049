// Document servers: everybody on one document is on one server, also while the servers are replaced.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { waitUntil } from '../clients/wait.mjs';
import { hasBerth, isHeavy, openAccount, publish } from './support/berth.mjs';
import { collisions, Editor, locked, startServer, stored } from './support/hocuspocus.mjs';

const SERVERS = hasBerth ? 3 : 1;
const [DOCUMENTS, CLIENTS] = isHeavy ? [50, 200] : [6, 24];

let servers;
before(async () => {
  servers = await Promise.all(Array.from({ length: SERVERS }, (_, index) => startServer(`doc-${index}`)));
  await publish(servers);
});

function open(t, account, room, name) {
  const editor = new Editor(account, room, name);
  t.after(() => editor.close());
  return editor;
}

test('two accounts on two gateways edit one document', async (t) => {
  const [ada, ben] = [await openAccount('ada', 0), await openAccount('ben', hasBerth ? 1 : 0)];
  for (const room of ['plan', 'team plan/ä']) {
    const [first, second] = [open(t, ada, room), open(t, ben, room)];
    await Promise.all([first.edit('from ada'), second.edit('from ben')]);
    await Promise.all([first.sees('from ben'), second.sees('from ada')]);
    assert.deepEqual(servers.flatMap(locked).filter((name) => name === room), [room]);
  }
});

test('a document of another name than the room is refused', async (t) => {
  const editor = open(t, await openAccount('ada'), 'plan', 'salaries');
  await waitUntil('the refusal', () => editor.refusal || editor.closes.length > 0);
  assert.equal(editor.provider.isSynced, false);
  assert.deepEqual(servers.flatMap(locked).filter((name) => name === 'salaries'), []);
});

test('all servers are replaced while clients edit, and nothing is lost', { skip: !hasBerth && 'one server' }, async (t) => {
  const accounts = await Promise.all(['ada', 'ben'].map((name, index) => openAccount(name, index)));
  const editors = Array.from({ length: CLIENTS }, (_, index) => open(t, accounts[index % 2], `room-${index % DOCUMENTS}`));
  await Promise.all(editors.map((editor) => editor.synced()));
  assert.ok(servers.every((server) => locked(server).length > 0), 'every server has documents');

  let isOver = false;
  const edit = async (editor, index) => {
    for (let number = 0; !isOver; number += 1) {
      await editor.edit(`${index}-${number}`);
      // As fast as somebody who types.
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  };
  const editing = Promise.all(editors.map(edit));
  editing.catch(() => {});
  for (const old of [...servers]) {
    const added = await startServer(`new-${old.name}`);
    servers.push(added);
    await publish(servers);
    await publish(servers, [old]);
    await waitUntil(`${old.name} has no document`, () => locked(old).length === 0, 60_000);
    servers.splice(servers.indexOf(old), 1);
    await publish(servers);
    await old.terminate();
    assert.deepEqual(collisions(old), []);
  }
  isOver = true;
  await editing;

  assert.ok(editors.every((editor) => editor.closes.length > 0), 'every client was moved');
  const rooms = byRoom(editors);
  for (const [room, members] of rooms) {
    const counts = servers.map((server) => locked(server).filter((name) => name === room).length);
    assert.equal(counts.reduce((sum, count) => sum + count), 1, `${room} is on one server`);
    for (const member of members) await member.sees(members[0].acknowledged.at(-1));
  }
  editors.forEach((editor) => editor.close());
  await Promise.all(servers.map((server) => server.terminate()));
  for (const server of servers) assert.deepEqual(collisions(server), []);
  for (const [room, members] of rooms) {
    const edits = new Set(stored(room));
    const lost = members.flatMap((member) => member.acknowledged).filter((edit) => !edits.has(edit));
    assert.deepEqual(lost, [], `${room} has every acknowledged edit on the disk`);
  }
});

function byRoom(editors) {
  const rooms = new Map();
  for (const editor of editors) rooms.set(editor.room, [...(rooms.get(editor.room) ?? []), editor]);
  return rooms;
}
