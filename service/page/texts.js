// The page in other languages: English is in the page itself, de.js and fr.js have the translation of each text.

const KEY = 'sub3.language';
const OFFERED = ['en', 'de', 'fr'];
const wished = [localStorage.getItem(KEY), ...navigator.languages].map((code) => (code ?? '').slice(0, 2));
export const locale = wished.find((code) => OFFERED.includes(code)) ?? 'en';
const texts = locale === 'en' ? {} : (await import(`./${locale}.js`)).default;

/** A text of the page in its language, with values for {names}. */
export function t(english, values = {}) {
  return (texts[english] ?? english).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Translate what the page came with. */
export function localise() {
  document.documentElement.lang = locale;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const english = node.data.trim();
    if (texts[english] && node.parentElement.tagName !== 'SCRIPT') node.data = node.data.replace(english, () => texts[english]);
  }
  for (const name of ['aria-label', 'title', 'placeholder']) {
    for (const other of document.querySelectorAll(`[${name}]`)) other.setAttribute(name, t(other.getAttribute(name)));
  }
}

/** Choose the language of the page; it is loaded anew. */
export function choose(code) {
  localStorage.setItem(KEY, code);
  location.reload();
}
