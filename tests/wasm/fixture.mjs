// The case table and its tokens, in place of each other.
import { readFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(`../fixtures/filter/${name}`, import.meta.url), 'utf8');

export const fixture = JSON.parse(read('tokens.json'));

export const table = JSON.parse(
  read('cases.json')
    .replaceAll('{secret}', fixture.secret)
    .replaceAll(/\{token:(\w+)\}/g, (_, name) => fixture.tokens[name])
    .replaceAll(/"\{key:(\w+)\}"/g, (_, name) => JSON.stringify(fixture.keys[name])),
);

/** The head of a request: one of the table's, with headers set (null: gone) and added. */
export function head(name, { set = {}, add = [] } = {}) {
  const kept = table.requests[name]
    .filter(([header]) => set[header] !== null)
    .map(([header, value]) => [header, set[header] ?? value]);
  return [...kept, ...add];
}

/** What the placement service says in a case. */
export function serviceBody({ answer, with: changes, body = '' }) {
  return answer ? JSON.stringify({ ...table.answers[answer], ...changes }) : body;
}
