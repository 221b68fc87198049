// Calls of the service.

/** Calls the service. Rejects with an error that has the `status` of an unsuccessful response. */
export async function call(method, path, body, extraOptions) {
  const headers = { accept: 'application/json' };
  if (body) headers['content-type'] = 'application/json';
  const response = await fetch(path, {
    method, headers, body: body && JSON.stringify(body), cache: 'no-store', credentials: 'same-origin', redirect: 'error',
    ...extraOptions,
  });
  if (response.ok) return response.status === 204 ? null : response.json();
  throw Object.assign(new Error(`${method} ${path}: ${response.status}`), { status: response.status });
}
