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
  const copy = streamed ? null : request.clone();
  const { signal } = request;
  const response = await send(request);
  if (response.status !== LOGIN_TIMEOUT || new URL(request.url).origin !== origin) {
    // Releases the copy of the body.
    copy?.body?.cancel();
    return response;
  }
  if (!(await unlessAborted(relogin(), signal))) return response;
  if (copy) return send(copy);
  throw new TypeError(
    'The session had expired, and a body that is a stream cannot be sent twice. The user is logged in again: send the request once more.',
  );
}

function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
