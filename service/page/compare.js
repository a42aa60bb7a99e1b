// Compare: one text under several configurations, side by side, with what each costs.
import { answering, ask, quality, refresh, sources, targets, token } from './api.js';
import { changed, difference } from './diff.js';
import { $, element, fill, language, megabytes, milliseconds, number, say } from './dom.js';

const [FEWEST, MOST] = [2, 4];
let request = new AbortController();

export async function enter() {
  await refresh().catch((error) => say('compare-error', error.message));
  fill($('compare-source'), sources().map((code) => [code, language(code)]));
  if (!$('compare-text').value) $('compare-text').value = $('text').value;
  choices();
}

export const keyed = () => compare();

const found = () => answering($('compare-source').value, $('compare-target').value);
const chosen = () => [...$('compare-configs').querySelectorAll(':checked')].map((box) => box.value);

/** A box for each configuration; what is not live needs the token, which may load it. */
function choices() {
  fill($('compare-target'), targets($('compare-source').value).map((code) => [code, language(code)]));
  const before = chosen();
  const { chain: [model], live, available } = found();
  const { active, configurations = [] } = model ?? {};
  const usable = configurations.filter(({ name }) => live.includes(name) || (available.includes(name) && token.value));
  const first = before.length ? before : [active, ...usable.map(({ name }) => name).filter((name) => name !== active)].slice(0, FEWEST);
  $('compare-configs').replaceChildren(...configurations.map(({ name, bits_per_weight: bits }) => {
    const known = usable.some((other) => other.name === name);
    const box = element('input', { type: 'checkbox', value: name, disabled: !known, checked: known && first.includes(name) });
    box.dataset.usable = known || '';
    return element('label', { className: 'check' }, box, `${name} (${bits.toFixed(1)} bits)`);
  }));
  $('compare-hint').textContent = token.value ? 'What is not live is loaded for it, and stays until you unload it under Administration.'
    : 'Only live configurations answer; with the token of Administration the others are loaded when they are chosen.';
  limit();
}

/** No more than four. */
function limit() {
  const full = chosen().length >= MOST;
  for (const box of $('compare-configs').querySelectorAll('input')) {
    if (!box.checked) box.disabled = full || !box.dataset.usable;
  }
}

async function compare() {
  const names = chosen();
  say('compare-error');
  if (names.length < FEWEST || names.length > MOST) {
    say('compare-error', `Choose ${FEWEST} to ${MOST} configurations; live are ${found().live.join(', ') || 'none'}.`);
    return;
  }
  request.abort();
  const own = request = new AbortController();
  const answers = [];
  try {
    for (const name of names) { // one after the other, so that none waits for another
      $('compare-progress').textContent = `${name} …`;
      answers.push(await answer(name, own.signal));
      cards(answers);
    }
    $('compare-progress').textContent = `${names.length} translations`;
  } catch (error) {
    if (own.signal.aborted) return;
    $('compare-progress').textContent = '';
    say('compare-error', error.message);
    if (error.status === 401) $('key-form').hidden = false;
  }
}

async function answer(name, signal) {
  const { chain, live } = found();
  if (!live.includes(name)) {
    for (const model of chain) await ask(`admin/models/${encodeURIComponent(model.name)}/configs/${encodeURIComponent(name)}`, { method: 'PUT' });
    await refresh();
  }
  const measured = chain.length > 1 ? [] : chain[0].configurations; // no test set was translated by several models
  const body = { text: $('compare-text').value, source: $('compare-source').value, target: $('compare-target').value, config: name };
  const reply = await ask('v1/translate', { method: 'POST', body, signal });
  return { ...reply, text: reply.translations[0].text, configuration: measured.find((other) => other.name === name) };
}

/** The cards; the one of the most bits is what the others are compared with. */
function cards(answers) {
  const bits = (answer) => answer.model.bits_per_weight;
  const reference = answers.reduce((best, other) => (bits(other) > bits(best) ? other : best));
  $('compare-results').replaceChildren(...answers.map((answer) => {
    const parts = difference(reference.text, answer.text);
    const tag = { same: 'span', added: 'ins', removed: 'del' };
    const text = element('p', { className: 'text', lang: $('compare-target').value },
      ...(answer === reference ? [answer.text] : parts.map(({ kind, text }) => element(tag[kind], { textContent: text }))));
    const { words, added, removed } = changed(parts);
    const same = !added && !removed;
    const { configuration: known, latency_ms: latency, memory } = answer;
    return element('article', { className: 'card' },
      element('h3', { textContent: answer.model.config }), text,
      element('p', { className: 'hint', textContent: answer === reference ? 'The others are compared with this one.'
        : same ? 'The same words.' : `${added} of ${words} words are others, ${removed} are missing.` }),
      element('dl', {}, ...Object.entries({
        'bits per weight': bits(answer).toFixed(2),
        weights: megabytes(memory.model_bytes),
        'this request': milliseconds(latency.total),
        'encode, decode': milliseconds(latency.encode + latency.decode),
        'BLEU, mean': number(known && quality(known, 'bleu')),
        ...Object.fromEntries(Object.keys(known?.quality ?? {}).map((set) => [set, number(quality(known, 'bleu', set))])),
      }).flatMap(([term, value]) => [element('dt', { textContent: term }), element('dd', { textContent: value })])));
  }));
}

$('compare-form').addEventListener('submit', (event) => {
  event.preventDefault();
  compare();
});
$('compare-form').addEventListener('keydown', (event) => {
  if (event.ctrlKey && event.key === 'Enter') {
    event.preventDefault();
    $('compare-form').requestSubmit();
  }
});
$('compare-configs').addEventListener('change', limit);
for (const side of ['source', 'target']) $(`compare-${side}`).addEventListener('change', choices);
