// A proxy in front of Envoy that can delay responses.

import http from 'node:http';
import { url } from './stack.mjs';

/**
 * `isHeld(path)` selects the responses that are held until `release()`. `arrived(count)` resolves when they have
 * arrived.
 */
export async function holdingProxy(t, isHeld) {
  const heldResponses = [];
  let notify = () => {};
  const server = http.createServer((request, response) => {
    const { method, headers, url: path } = request;
    const upstreamRequest = http.request(new URL(path, url), { method, headers }, (upstreamResponse) => {
      const forward = () => {
        response.writeHead(upstreamResponse.statusCode, upstreamResponse.rawHeaders);
        upstreamResponse.pipe(response);
      };
      if (!isHeld(path)) return forward();
      heldResponses.push(forward);
      notify();
    });
    upstreamRequest.on('error', () => response.destroy());
    request.pipe(upstreamRequest);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    arrived: (count) => new Promise((resolve) => {
      notify = () => heldResponses.length >= count && resolve();
      notify();
    }),
    release: () => heldResponses.splice(0).forEach((forward) => forward()),
  };
}
