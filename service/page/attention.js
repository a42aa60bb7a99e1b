// Which words of the source a word of the translation looked at: shown under the pointer and under the keyboard's focus.
import { $, element } from './dom.js';

let source = ''; // of the translation that is shown

/** Spans in code points as spans in a JavaScript string's units. */
function units(text) {
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return ([begin, end]) => [places[begin], places[end]];
}

/** Show a translation whose words tell where they come from; `links` are {source, target}, spans in characters. */
export function show(text, translation, links) {
  source = text;
  const [inSource, inTarget] = [units(source), units(translation)];
  let position = 0;
  const parts = [];
  for (const [n, link] of links.entries()) {
    const [begin, end] = inTarget(link.target);
    const word = element('span', { className: 'word', textContent: translation.slice(begin, end), tabIndex: n ? -1 : 0 });
    word.dataset.source = inSource(link.source);
    parts.push(translation.slice(position, begin), word);
    position = end;
  }
  $('translation').replaceChildren(...parts, translation.slice(position));
}

/** Mark the source of a word; of none, nothing. */
function mark(word) {
  const known = word && $('text').value === source; // not where something has been typed since
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
$('translation').addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !word(event)) return;
  event.preventDefault();
  const words = [...$('translation').querySelectorAll('.word')];
  const next = words[words.indexOf(word(event)) + step];
  if (!next) return;
  word(event).tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
