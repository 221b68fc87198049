// A proxy before Envoy that can hold answers back: the straggler.

import http from 'node:http';
import { url } from './stack.mjs';

/** `held(path)` says which answers are held until `release()`. They have arrived when `arrived(count)` resolves. */
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
