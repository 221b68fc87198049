// The dialog that shows how long the session still lasts, and offers to extend it.

import { element, showDialog } from './dialog.js';
import { clock } from './plan.js';

/**
 * `kind` is `idle` (the first button renews the session) or `absolute` (it opens a new login). `onPrimary` resolves
 * to whether it succeeded; the results of `onSecondary` and `onDismiss` are ignored.
 * Returns `{kind, update(seconds), close()}`.
 */
export function warningDialog({ kind, texts, onPrimary, onSecondary, onDismiss }) {
  const isIdle = kind === 'idle';
  // A timer is not announced each second: screen readers read the dialog when it opens.
  const timer = element('span', { className: 'left', role: 'timer' });
  const alert = element('p', { className: 'alert', role: 'alert' });
  const primaryButton = element('button', { className: 'primary', textContent: isIdle ? texts.stay : texts.logInNow });
  const secondaryButton = element('button', { textContent: isIdle ? texts.logOut : texts.later });
  primaryButton.addEventListener('click', async () => {
    alert.textContent = '';
    if (!(await onPrimary())) alert.textContent = texts.notRenewed;
  });
  secondaryButton.addEventListener('click', onSecondary);
  const close = showDialog('warning', 'alertdialog', [
    element('h2', { id: 'title', textContent: isIdle ? texts.idleTitle : texts.absoluteTitle }),
    element('p', { id: 'about' }, isIdle ? texts.idle : texts.absolute, ' ', timer),
    alert,
    element('div', { className: 'buttons' }, primaryButton, secondaryButton),
  ], onDismiss);
  primaryButton.focus();
  const update = (seconds) => {
    timer.textContent = clock(seconds);
  };
  return { kind, update, close };
}
