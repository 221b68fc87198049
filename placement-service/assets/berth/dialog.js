// The frame of both dialogs: a modal dialog in a shadow root with its own style sheet, so that the page's styles do
// not apply to it, and a strict Content Security Policy (no inline style, no markup from strings) permits it.

const STYLE = `
  dialog {
    --card: #fff; --field: #f6f7f9; --line: #d8dce3; --edge: #7d8798; --text: #1b1f27; --soft: #5a6372;
    --accent: #0b5cad; --on-accent: #fff; --bad: #b3261e; --focus: #0b5cad;
    box-sizing: border-box; width: min(25rem, calc(100vw - 2rem)); padding: 1.6rem 1.75rem 1.75rem;
    color: var(--text); background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
    box-shadow: 0 1rem 3rem rgb(0 0 0 / .25); color-scheme: light dark;
    font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; text-align: start;
  }
  @media (prefers-color-scheme: dark) {
    dialog {
      --card: #1d2128; --field: #14171c; --line: #363d49; --edge: #788396; --text: #e8ebf0; --soft: #a3adbd;
      --accent: #6cb2ff; --on-accent: #10151c; --bad: #ff8a80; --focus: #9ccbff;
    }
  }
  dialog::backdrop { background: rgb(15 18 24 / .55); backdrop-filter: blur(5px); }
  h2 { margin: 0 0 .35rem; font-size: 1.25rem; line-height: 1.3; }
  p { margin: 0 0 .5rem; color: var(--soft); }
  label { display: block; margin: 1rem 0 .35rem; font-weight: 600; }
  input {
    box-sizing: border-box; width: 100%; padding: .55rem .7rem; font: inherit; color: inherit;
    background: var(--field); border: 1px solid var(--edge); border-radius: .4rem;
  }
  input:read-only { color: var(--soft); background: transparent; border-color: var(--line); }
  .alert {
    margin: 1rem 0 0; padding: .6rem .8rem; color: var(--bad); font-weight: 600; border-inline-start: 4px solid;
    border-radius: .25rem; background: color-mix(in srgb, var(--bad) 9%, transparent);
  }
  .alert:empty { display: none; }
  .left { display: block; margin: .75rem 0 0; color: var(--text); font-size: 2rem; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
  .buttons { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1.4rem; }
  button, .button {
    flex: 1 1 auto; padding: .5rem 1rem; font: inherit; cursor: pointer; text-align: center; text-decoration: none;
    color: var(--text); background: var(--field); border: 1px solid var(--edge); border-radius: .4rem;
  }
  button:hover, .button:hover { border-color: var(--accent); }
  .primary { flex-grow: 2; color: var(--on-accent); background: var(--accent); border-color: var(--accent); font-weight: 600; }
  [aria-disabled="true"] { opacity: .65; cursor: progress; }
  :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
  input:focus-visible { outline-offset: 0; }
`;

/** Creates an element with properties (`role`, `for` and `aria-*` as attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('aria-') || name === 'role' || name === 'for') created.setAttribute(name, value);
    else created[name] = value;
  }
  created.append(...children);
  return created;
}

/**
 * Shows a modal dialog. Its child `#title` is its name, `#about` its description. `onDismiss` is called when the user
 * closes it (Escape). Returns a function that closes it without that call; the focus returns to its earlier element.
 */
export function showDialog(kind, role, children, onDismiss) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  const host = element('div');
  host.dataset.berth = kind;
  const root = host.attachShadow({ mode: 'open' });
  root.adoptedStyleSheets = [sheet];
  const attributes = { role, 'aria-labelledby': 'title', 'aria-describedby': 'about' };
  const dialog = element('dialog', attributes, ...children);
  root.append(dialog);
  document.body.append(host);
  dialog.showModal();
  const close = () => {
    dialog.removeEventListener('close', onUserClose);
    dialog.close();
    host.remove();
  };
  // `close` instead of `cancel`: browsers may skip `cancel`, so that no page can trap its user.
  const onUserClose = () => {
    close();
    onDismiss();
  };
  dialog.addEventListener('close', onUserClose);
  return close;
}
