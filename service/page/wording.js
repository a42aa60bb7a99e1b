// Other wordings of one sentence of the translation from a word on: the best of the search behind what stands before it.
import { ask } from './api.js';
import { onPick, show } from './attention.js';
import { difference } from './diff.js';
import { $, element, say } from './dom.js';
import { t } from './texts.js';

const MOST = 4; // as the server allows by default
const LONGEST = 1000; // characters that the server keeps
let now; // {source, text, links, sentences, body} of the translation that is shown
let asked = 0;

/** Show a translation whose words can be chosen; `sentences` are {source, translation} in order. */
export function offer(source, text, links, sentences, body) {
  let position = 0;
  const placed = [];
  for (const sentence of sentences) {
    const begin = text.indexOf(sentence.translation, position);
    if (begin < 0) continue;
    position = begin + sentence.translation.length;
    placed.push({ source: sentence.source, begin, end: position });
  }
  now = { source, text, links, sentences: placed, body };
  show(source, text, links);
  $('hint-words').hidden = !placed.length;
}

/** Nothing can be chosen while a translation is made. */
export function withdraw() {
  now = undefined;
  $('hint-words').hidden = true;
  if ($('choices').matches(':popover-open')) $('choices').hidePopover();
}

async function pick(word) {
  const of = now;
  const [begin, end] = [Number(word.dataset.begin), Number(word.dataset.end)];
  const sentence = of?.sentences.find((one) => one.begin <= begin && end <= one.end);
  if (!sentence) return;
  const turn = asked += 1;
  const { alignment, ...body } = of.body;
  let reply;
  try {
    const before = of.text.slice(sentence.begin, begin).trimEnd();
    const prefix = before.length <= LONGEST ? before : '';
    reply = await ask('v1/translate', { method: 'POST', body: { ...body, text: sentence.source, alternatives: MOST, prefix } });
  } catch (error) {
    say('translate-error', error.message);
    return;
  }
  if (turn !== asked || of !== now) return; // something else was chosen or typed meanwhile
  const present = of.text.slice(sentence.begin, sentence.end);
  const [translation] = reply.translations;
  const others = [...new Set([translation.text, ...translation.alternatives.map(({ text }) => text)])].filter((text) => text !== present);
  const at = begin - sentence.begin;
  const ranked = others.map((text) => ({ text, ...changes(present, text, at) })).sort((a, b) => b.here - a.here);
  $('choices').replaceChildren(
    ...ranked.map(({ text, parts }) => element('button', { type: 'button', lang: body.target, onclick: () => replace(sentence, text) },
      ...parts.map(([same, part]) => (same ? part : element('b', { textContent: part }))))),
    ...(ranked.length ? [] : [element('p', { className: 'hint', textContent: t('The search found no other wording.') })]),
  );
  place(word);
}

/** How another sentence differs: its parts, and whether the word at a place is among what it changes. */
function changes(present, other, at) {
  let position = 0;
  let here = false;
  const parts = [];
  for (const { kind, text } of difference(present, other)) {
    if (kind !== 'removed') parts.push([kind === 'same', text]);
    if (kind === 'added') continue;
    here ||= kind === 'removed' && position <= at && at < position + text.length;
    position += text.length;
  }
  return { parts, here };
}

/** Open the list under a word, within the window. */
function place(word) {
  const list = $('choices');
  list.showPopover();
  const box = word.getBoundingClientRect();
  const { width, height } = list.getBoundingClientRect();
  list.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
  list.style.top = `${box.bottom + 4 + height > innerHeight ? Math.max(8, box.top - height - 4) : box.bottom + 4}px`;
  list.querySelector('button')?.focus();
}

/** Put another wording in place of a sentence; its words are no longer linked to the source. */
function replace(sentence, other) {
  $('choices').hidePopover();
  const points = (text) => [...text].length;
  const [begin, end] = [points(now.text.slice(0, sentence.begin)), points(now.text.slice(0, sentence.end))];
  const moved = points(other) - (end - begin);
  now.links = now.links.filter(({ target }) => target[1] <= begin || target[0] >= end)
    .map((link) => (link.target[0] >= end ? { ...link, target: link.target.map((place) => place + moved) } : link));
  now.text = now.text.slice(0, sentence.begin) + other + now.text.slice(sentence.end);
  const shift = other.length - (sentence.end - sentence.begin);
  for (const later of now.sentences) if (later.begin >= sentence.end) Object.assign(later, { begin: later.begin + shift, end: later.end + shift });
  sentence.end += shift;
  show(now.source, now.text, now.links);
  const [first] = [...$('translation').querySelectorAll('.word')].filter(({ dataset }) => Number(dataset.begin) >= sentence.begin);
  first?.focus();
}

onPick(pick);
$('choices').addEventListener('keydown', (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...$('choices').querySelectorAll('button')];
  all[(all.indexOf(document.activeElement) + step + all.length) % all.length]?.focus();
});
