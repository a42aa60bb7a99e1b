// The frame: which view is shown, light or dark, the API key. Each view is a module that is loaded when it is first shown.
import { key, refresh } from './api.js';
import { $, say } from './dom.js';
import * as translate from './translate.js';

const views = {
  translate: async () => translate,
  compare: () => import('./compare.js'),
  administration: () => import('./administration.js'),
};
let shown;

async function show() {
  const name = location.hash.slice(1) in views ? location.hash.slice(1) : 'translate';
  const view = await views[name](); // before it is seen: a form without its module would do nothing
  for (const section of document.querySelectorAll('[data-view]')) section.hidden = section.dataset.view !== name;
  for (const link of document.querySelectorAll('nav a')) {
    link.hash === `#${name}` ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – sub3`;
  shown?.leave?.();
  shown = view;
  await shown.enter();
}

function theme(scheme) {
  if (scheme) document.documentElement.style.colorScheme = scheme;
  const dark = scheme ? scheme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  $('theme').textContent = dark ? 'Light' : 'Dark';
}

theme(localStorage.getItem('sub3.theme'));
$('theme').addEventListener('click', () => {
  const scheme = $('theme').textContent.toLowerCase();
  localStorage.setItem('sub3.theme', scheme);
  theme(scheme);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme(localStorage.getItem('sub3.theme')));

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
} catch (error) {
  say('translate-error', error.message);
}
await show();
