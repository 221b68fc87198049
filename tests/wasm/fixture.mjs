// The case table with its tokens inserted.
import { readFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(`../fixtures/filter/${name}`, import.meta.url), 'utf8');

export const fixture = JSON.parse(read('tokens.json'));

export const table = JSON.parse(
  read('cases.json')
    .replaceAll('{secret}', fixture.secret)
    .replaceAll(/\{token:(\w+)\}/g, (_, name) => fixture.tokens[name])
    .replaceAll(/"\{key:(\w+)\}"/g, (_, name) => JSON.stringify(fixture.keys[name])),
);

/** The head of a request of the table, with headers set (null: removed) and added. */
export function head(name, { set = {}, add = [] } = {}) {
  const headers = table.requests[name]
    .filter(([header]) => set[header] !== null)
    .map(([header, value]) => [header, set[header] ?? value]);
  return [...headers, ...add];
}

/** The response of the placement service in a case. */
export function serviceBody({ answer, with: changes, body = '' }) {
  return answer ? JSON.stringify({ ...table.answers[answer], ...changes }) : body;
}
