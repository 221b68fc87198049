// Login of a client that is no browser.

/** Logs in and returns the login cookie as `name=value`. */
export async function login(base, username, password) {
  const body = new URLSearchParams({ username, password });
  const reply = await fetch(`${base}/login`, { method: 'POST', body, redirect: 'manual' });
  const pairs = reply.headers.getSetCookie().map((setCookie) => setCookie.split(';')[0]);
  const cookie = pairs.find((pair) => pair.startsWith('berth='));
  if (!cookie) throw new Error(`login: ${reply.status} ${await reply.text()}`);
  return cookie;
}
