// One call: sent, and sent once more when it finds the session expired. Knows no page and no dialog.

/** Login Timeout: the request has reached nobody, so it may be sent again after a login. */
const LOGIN_TIMEOUT = 440;

/**
 * Sends what `fetch(input, init)` would. `relogin()` resolves to whether somebody with the same account is logged
 * in again; only the own `origin` may ask for that.
 */
export async function withRelogin(input, init, { send, relogin, origin }) {
  const streamed = init?.body instanceof ReadableStream;
  const request = new Request(input, init);
  const spare = streamed ? null : request.clone();
  const { signal } = request;
  const answer = await send(request);
  if (answer.status !== LOGIN_TIMEOUT || new URL(request.url).origin !== origin) {
    // Lets go of the copy of the body.
    spare?.body?.cancel();
    return answer;
  }
  if (!(await unlessAborted(relogin(), signal))) return answer;
  if (spare) return send(spare);
  throw new TypeError(
    'The session had expired, and a body that is a stream cannot be sent twice. The user has logged in again: send it anew.',
  );
}

function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
