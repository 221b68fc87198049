// Waiting for what another process does.

const PAUSE = 20;

/** Resolves with the first true result of `check()`. */
export async function waitUntil(description, check, limit = 10_000) {
  for (const end = Date.now() + limit; ; ) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`not true after ${limit} ms: ${description}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}
