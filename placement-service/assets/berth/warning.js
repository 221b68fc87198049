// The dialog that shows how long the session still lasts, and offers to extend it.

import { element, showDialog } from './dialog.js';
import { clock } from './plan.js';

/**
 * `kind` is `idle` (the first button renews the session) or `absolute` (it opens a new login). `first` resolves to
 * whether it succeeded; the results of `second` and `dismissed` are ignored.
 * Returns `{kind, tell(seconds), close()}`.
 */
export function warningDialog({ kind, texts, first, second, dismissed }) {
  const idle = kind === 'idle';
  // A timer is not announced each second: screen readers read the dialog when it opens.
  const left = element('span', { className: 'left', role: 'timer' });
  const alert = element('p', { className: 'alert', role: 'alert' });
  const go = element('button', { className: 'primary', textContent: idle ? texts.stay : texts.logInNow });
  const other = element('button', { textContent: idle ? texts.logOut : texts.later });
  go.addEventListener('click', async () => {
    alert.textContent = '';
    if (!(await first())) alert.textContent = texts.notRenewed;
  });
  other.addEventListener('click', second);
  const close = showDialog('warning', 'alertdialog', [
    element('h2', { id: 'title', textContent: idle ? texts.idleTitle : texts.absoluteTitle }),
    element('p', { id: 'about' }, idle ? texts.idle : texts.absolute, ' ', left),
    alert,
    element('div', { className: 'buttons' }, go, other),
  ], dismissed);
  go.focus();
  const tell = (seconds) => {
    left.textContent = clock(seconds);
  };
  return { kind, tell, close };
}
