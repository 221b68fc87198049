// The files of an example page: a line "`NAME`:" precedes the block with the content of NAME. The tests run these files,
// so that the page is what works.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const pages = new URL('../../../placement-service/docs/engines/', import.meta.url);

/** Writes the files of a page into a new folder, which is removed after the test file, and returns the folder. */
export function exampleFiles(page) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-example-'));
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  const text = fs.readFileSync(new URL(`${page}.md`, pages), 'utf8');
  for (const [, name, content] of text.matchAll(/^`([^`\n]+)`:\n\n```[^\n]*\n(.*?)^```$/gms)) {
    fs.writeFileSync(path.join(folder, name), content);
  }
  return folder;
}
