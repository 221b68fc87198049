// Sends one call, and repeats it after a login when its session has expired. Knows no page and no dialog.

/** Login Timeout: the request has not reached the application, so it can be repeated after a login. */
const LOGIN_TIMEOUT = 440;

/**
 * Sends the request of `fetch(input, init)`. `relogin()` resolves to whether the same account is logged in again.
 * Only responses of `origin` can request a login.
 */
export async function withRelogin(input, init, { send, relogin, origin }) {
  const streamed = init?.body instanceof ReadableStream;
  const request = new Request(input, init);
  const spare = streamed ? null : request.clone();
  const { signal } = request;
  const answer = await send(request);
  if (answer.status !== LOGIN_TIMEOUT || new URL(request.url).origin !== origin) {
    // Releases the copy of the body.
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
