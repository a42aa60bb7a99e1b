// The frame: which view is shown, light or dark, the language, the API key. A view's module is loaded when it is first shown.
import { key, refresh } from './api.js';
import { $, say } from './dom.js';
import { choose, locale, localise, t } from './texts.js';
import * as translate from './translate.js';

const views = {
  translate: async () => translate,
  compare: () => import('./compare.js'),
  administration: () => import('./administration.js'),
};
let shown;

/** Show the view of the address: #view, or #view?what=it&is=about. */
async function show() {
  const [word] = location.hash.slice(1).split('?');
  const name = word in views ? word : 'translate';
  const view = await views[name](); // before it is seen: a form without its module would do nothing
  for (const section of document.querySelectorAll('[data-view]')) section.hidden = section.dataset.view !== name;
  for (const link of document.querySelectorAll('nav a')) {
    const here = link.hash === `#${name}`;
    here ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
    if (here) document.title = `${link.textContent} – sub3`;
  }
  shown?.leave?.();
  shown = view;
  await shown.enter();
}

function theme(scheme) {
  if (scheme) document.documentElement.style.colorScheme = scheme;
  const dark = scheme ? scheme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  $('theme').textContent = t(dark ? 'Light' : 'Dark');
  $('theme').value = dark ? 'light' : 'dark';
}

localise();
theme(localStorage.getItem('sub3.theme'));
$('theme').addEventListener('click', () => {
  const scheme = $('theme').value;
  localStorage.setItem('sub3.theme', scheme);
  theme(scheme);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme(localStorage.getItem('sub3.theme')));
$('language').value = locale;
$('language').addEventListener('change', () => choose($('language').value));

$('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  key.value = $('key').value.trim();
  $('key-form').hidden = true;
  shown?.keyed?.();
});

// The skip link is not a view.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('main').focus();
});
addEventListener('hashchange', show);
try {
  await refresh();
  translate.languages();
} catch (error) {
  say('translate-error', error.message);
}
await show();
