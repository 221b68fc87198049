// The user's own account: lists and ends its logins, and changes its password.

import { call } from './call.js';

/**
 * The active logins of the account, oldest first: `[{session_ref, created_at, last_seen_at, current}]`, with times in
 * Unix seconds. Does not count as activity.
 */
export async function sessions() {
  return (await call('GET', '/login/account/sessions')).sessions;
}

/** Ends one login of the account, by its `session_ref`; of the current one, `logout()` is better. */
export async function endSession(session) {
  await call('POST', '/login/account/sessions/end', { session });
}

/** Ends all logins of the account but the current one. Resolves to their number. */
export async function endOtherSessions() {
  return (await call('POST', '/login/account/sessions/end', { session: 'others' })).ended;
}

/**
 * Changes the password of a local account and ends its other logins. Resolves to their number. Rejects with an error
 * whose `status` is 401 if the current password is wrong, 400 if the new one is not acceptable, 403 if the account has
 * no password here, 429 after too many attempts.
 */
export async function changePassword(currentPassword, newPassword) {
  const body = { current_password: currentPassword, new_password: newPassword };
  return (await call('POST', '/login/account/password', body)).ended;
}
