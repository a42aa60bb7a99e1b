// Making and finding elements, and figures as people read them. Texts are set as text, never parsed as markup.
import { locale } from './texts.js';

/** The element of an id. */
export const $ = (id) => document.getElementById(id);

/** A new element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Fill a <select> with [value, label] pairs; keeps what was chosen where it is still there. */
export function fill(select, options, preferred = select.value) {
  select.replaceChildren(...options.map(([value, label]) => element('option', { value, textContent: label })));
  if (options.some(([value]) => value === preferred)) select.value = preferred;
}

/** Show a sentence in a message box; an empty one hides it. */
export function say(id, sentence = '') {
  $(id).textContent = sentence;
  $(id).hidden = !sentence;
}

/** The rows of a table: a header of titles, then cells; the first of a row is its header. */
export function table(target, titles, rows) {
  target.replaceChildren(
    element('thead', {}, element('tr', {}, ...titles.map((title) => element('th', { scope: 'col', textContent: title })))),
    element('tbody', {}, ...rows.map(({ className = '', cells: [first, ...rest] }) => element('tr', { className },
      element('th', { scope: 'row' }, first), ...rest.map((cell) => element('td', {}, cell))))),
  );
}

/** A number with so many digits behind the mark of the page's language. */
export const number = (value, digits = 1) => value?.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }) ?? '–';
export const megabytes = (bytes) => `${number(bytes / 1e6, bytes < 1e6 ? 2 : 1)} MB`;
export const milliseconds = (ms) => `${number(ms, ms < 10 ? 2 : 0)} ms`;

/** Call `work` once it has not been asked for during `ms`. */
export function debounced(work, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

let names;
/** A language as people call it. */
export function language(code) {
  try {
    names ??= new Intl.DisplayNames([locale], { type: 'language' });
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Copy a text; where that takes a secure context, which this is not, from the element that shows it. */
export async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(shown);
    document.execCommand('copy');
  }
}

/** What this browser remembers of a name; nothing where it may not. */
export const kept = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`sub3.${name}`));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`sub3.${name}`, JSON.stringify(value));
    } catch { /* it is full, or off */ }
  },
};
