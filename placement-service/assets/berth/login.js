// The dialog that requests a login: with a password, or at the identity provider.

import { element, showDialog } from './dialog.js';

/**
 * Shows the dialog until `close()` is called, and passes each attempt to `logIn(name, password)`, which resolves to
 * an error message or to nothing. `closed` resolves to `false` when the user cancels. A known name cannot be
 * edited. `early`: the session has not ended yet. With a `provider`, the login opens in a new tab, so that this page
 * stays, and `displayName` tells the user as whom to log in; the caller closes the dialog when that login succeeds.
 */
export function loginDialog({ name, provider, displayName, texts, early, logIn }) {
  let close;
  const closed = new Promise((resolve) => {
    const alert = element('p', { className: 'alert', role: 'alert' });
    const account = element('input', {
      id: 'name', name: 'username', value: name ?? '', readOnly: Boolean(name), required: true, maxLength: 128,
      autocomplete: 'username', autocapitalize: 'none', spellcheck: false,
    });
    const password = element('input', {
      id: 'password', name: 'password', type: 'password', required: true, maxLength: 1024,
      autocomplete: 'current-password',
    });
    const submitButton = element('button', { className: 'primary', textContent: texts.logIn });
    const cancelButton = element('button', { type: 'button', textContent: texts.cancel });
    const providerLink = element('a', {
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
      element('div', { className: 'buttons' }, provider ? providerLink : submitButton, cancelButton),
    );
    let busy = false;
    const setBusy = (isBusy) => {
      busy = isBusy;
      // `disabled` would remove the keyboard's focus.
      submitButton.setAttribute('aria-disabled', String(isBusy));
      submitButton.textContent = isBusy ? texts.loggingIn : texts.logIn;
    };
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (busy) return;
      setBusy(true);
      alert.textContent = '';
      const message = await logIn(account.value, password.value);
      setBusy(false);
      if (message === undefined) return;
      alert.textContent = message;
      password.value = '';
      password.focus();
    });
    const closeDialog = showDialog('login', 'dialog', [
      element('h2', { id: 'title', textContent: early ? texts.earlyTitle : texts.expiredTitle }),
      element('p', { id: 'about', textContent: about(texts, provider, early) }),
      ...(provider && displayName ? [element('p', { textContent: `${texts.loggedInAs} ${displayName}` })] : []),
      form,
    ], () => resolve(false));
    cancelButton.addEventListener('click', () => {
      closeDialog();
      resolve(false);
    });
    (provider ? providerLink : name ? password : account).focus();
    close = () => {
      closeDialog();
      resolve(true);
    };
  });
  return { closed, close };
}

function about(texts, provider, early) {
  if (provider) return texts.expiredElsewhere;
  return early ? texts.early : texts.expired;
}
