// A proxy in front of Envoy that can delay responses.

import http from 'node:http';
import { url } from './stack.mjs';

/**
 * `held(path)` selects the responses that are held until `release()`. `arrived(count)` resolves when they have
 * arrived.
 */
export async function holdingProxy(t, held) {
  const waiting = [];
  let told = () => {};
  const server = http.createServer((request, response) => {
    const { method, headers, url: path } = request;
    const there = http.request(new URL(path, url), { method, headers }, (answer) => {
      const pass = () => {
        response.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(response);
      };
      if (!held(path)) return pass();
      waiting.push(pass);
      told();
    });
    there.on('error', () => response.destroy());
    request.pipe(there);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    arrived: (count) => new Promise((resolve) => {
      told = () => waiting.length >= count && resolve();
      told();
    }),
    release: () => waiting.splice(0).forEach((pass) => pass()),
  };
}
