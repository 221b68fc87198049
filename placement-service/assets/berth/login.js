// The dialog that asks for a login: for the password, or at the identity provider.

import { element, showDialog } from './dialog.js';

/**
 * Asks until `logIn(name, password)` resolves without a message, or `close()` is called; resolves to `false` when
 * the user gives up. The name is fixed when it is known. `early`: the session has not ended yet. Who logs in with a
 * `provider` does so in a new tab, so that this page stays; whoever hears of that login closes the dialog.
 */
export function loginDialog({ name, provider, texts, early, logIn }) {
  let close;
  const answered = new Promise((resolve) => {
    const alert = element('p', { className: 'alert', role: 'alert' });
    const account = element('input', {
      id: 'name', name: 'username', value: name ?? '', readOnly: Boolean(name), required: true, maxLength: 128,
      autocomplete: 'username', autocapitalize: 'none', spellcheck: false,
    });
    const password = element('input', {
      id: 'password', name: 'password', type: 'password', required: true, maxLength: 1024,
      autocomplete: 'current-password',
    });
    const button = element('button', { className: 'primary', textContent: texts.logIn });
    const cancel = element('button', { type: 'button', textContent: texts.cancel });
    const elsewhere = element('a', {
      className: 'button primary', href: `/login/oidc/${encodeURIComponent(provider)}?return_to=%2F`, target: '_blank',
      textContent: `${texts.logInWith} ${provider}`,
    });
    const fields = [
      element('label', { for: 'name', textContent: texts.name }), account,
      element('label', { for: 'password', textContent: texts.password }), password,
    ];
    const form = element(
      'form', {},
      ...(provider ? [] : fields),
      alert,
      element('div', { className: 'buttons' }, provider ? elsewhere : button, cancel),
    );
    let busy = false;
    const waiting = (now) => {
      busy = now;
      // Not `disabled`, which would lose the keyboard's focus.
      button.setAttribute('aria-disabled', String(now));
      button.textContent = now ? texts.loggingIn : texts.logIn;
    };
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (busy) return;
      waiting(true);
      alert.textContent = '';
      const message = await logIn(account.value, password.value);
      waiting(false);
      if (message === undefined) return;
      alert.textContent = message;
      password.value = '';
      password.focus();
    });
    const shut = showDialog('login', 'dialog', [
      element('h2', { id: 'title', textContent: early ? texts.earlyTitle : texts.expiredTitle }),
      element('p', { id: 'about', textContent: about(texts, provider, early) }),
      form,
    ], () => resolve(false));
    cancel.addEventListener('click', () => {
      shut();
      resolve(false);
    });
    (provider ? elsewhere : name ? password : account).focus();
    close = () => {
      shut();
      resolve(true);
    };
  });
  return { answered, close };
}

function about(texts, provider, early) {
  if (provider) return texts.expiredElsewhere;
  return early ? texts.early : texts.expired;
}
