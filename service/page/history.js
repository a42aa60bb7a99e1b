// What was translated in this browser, which alone has it: the last fifty, newest first.
import { $, element, kept, language } from './dom.js';
import { t } from './texts.js';

const MOST = 50;
const LONGEST = 5000; // characters of a text that is kept
let entries = kept.get('history') ?? [];

/** Remember a translation; what was typed on from the last one takes its place. */
export function remember(entry) {
  if (!$('history-keep').checked || entry.text.length > LONGEST) return;
  const [last] = entries;
  const goesOn = last && (entry.text.startsWith(last.text) || last.text.startsWith(entry.text));
  entries = [entry, ...(goesOn ? entries.slice(1) : entries)].slice(0, MOST);
  kept.set('history', entries);
  show();
}

let restore;
/** Call `work` with an entry that is chosen again. */
export function onRestore(work) {
  restore = work;
}

function show() {
  $('history-clear').hidden = !entries.length;
  $('past').replaceChildren(...entries.map((entry) => element('li', {},
    element('button', { type: 'button', className: 'past', onclick: () => restore(entry) },
      element('span', { className: 'hint', textContent: t('{from} to {to}', { from: language(entry.source), to: language(entry.target) }) }),
      element('span', { lang: entry.source, textContent: entry.text }), element('span', { lang: entry.target, textContent: entry.translation })))));
}

function forget() {
  entries = [];
  localStorage.removeItem('sub3.history');
  show();
}

$('history-keep').checked = kept.get('keep') ?? true;
$('history-keep').addEventListener('change', () => {
  kept.set('keep', $('history-keep').checked);
  if (!$('history-keep').checked) forget();
});
$('history-clear').addEventListener('click', forget);
show();
