// The words of the translation: where each comes from, under the pointer and the focus, and a way to choose one.
import { $, element } from './dom.js';

let source = ''; // of the translation that is shown
let picked = () => {};

/** Spans in code points as spans in a JavaScript string's units. */
function units(text) {
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return ([begin, end]) => [places[begin], places[end]];
}

/** Call `work` with a word's element when it is chosen. */
export function onPick(work) {
  picked = work;
}

/** Show a translation whose words tell where they come from; `links` are {source, target}, spans in characters. */
export function show(text, translation, links) {
  source = text;
  const [inSource, inTarget] = [units(source), units(translation)];
  const parts = [];
  let position = 0;
  const word = (begin, end, from) => {
    const made = element('span', { className: 'word', role: 'button', textContent: translation.slice(begin, end), tabIndex: -1 });
    Object.assign(made.dataset, { begin, end, ...(from && { source: from }) });
    parts.push(translation.slice(position, begin), made);
    position = end;
  };
  // words that no link is known of can be chosen, too
  const loose = (end) => {
    const from = position;
    for (const match of translation.slice(from, end).matchAll(/[\p{L}\p{N}]+/gu)) word(from + match.index, from + match.index + match[0].length);
  };
  for (const link of links) {
    const [begin, end] = inTarget(link.target);
    if (begin < position) continue;
    loose(begin);
    word(begin, end, inSource(link.source));
  }
  loose(translation.length);
  $('translation').replaceChildren(...parts, translation.slice(position));
  const [first] = $('translation').querySelectorAll('.word');
  if (first) first.tabIndex = 0;
}

/** Mark the source of a word; of none, nothing. */
function mark(word) {
  const known = word?.dataset.source && $('text').value === source; // not where something has been typed since
  const text = known ? source : '';
  const [begin, end] = known ? word.dataset.source.split(',').map(Number) : [0, 0];
  for (const other of $('translation').querySelectorAll('.looking')) other.classList.remove('looking');
  word?.classList.add('looking');
  $('under').replaceChildren(...(known ? [text.slice(0, begin), element('mark', { textContent: text.slice(begin, end) }), `${text.slice(end)}\n`] : []));
  $('under').scrollTop = $('text').scrollTop;
  $('attention').textContent = known ? `${word.textContent} ← ${text.slice(begin, end)}` : '';
}

const word = (event) => event.target.closest?.('.word');
const focused = () => (document.activeElement.matches('.word') ? document.activeElement : null);

for (const kind of ['pointerover', 'focusin']) $('translation').addEventListener(kind, (event) => word(event) && mark(word(event)));
for (const kind of ['pointerout', 'focusout']) $('translation').addEventListener(kind, () => mark(focused()));
$('text').addEventListener('input', () => mark(null));
$('text').addEventListener('scroll', () => { $('under').scrollTop = $('text').scrollTop; });
$('translation').addEventListener('click', (event) => word(event) && getSelection().isCollapsed && picked(word(event)));
$('translation').addEventListener('keydown', (event) => {
  if (!word(event)) return;
  if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    picked(word(event));
    return;
  }
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const words = [...$('translation').querySelectorAll('.word')];
  const next = words[words.indexOf(word(event)) + step];
  if (!next) return;
  word(event).tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
