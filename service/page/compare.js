// Compare: what a bit costs, one text under several configurations, with all their figures in one table.
import { answering, ask, everyPair, quality, refresh, sources, targets, token, wayOf } from './api.js';
import { Points } from './charts.js';
import { changed, difference } from './diff.js';
import { $, element, fill, language, megabytes, milliseconds, number, say, table } from './dom.js';
import { t } from './texts.js';

const [FEWEST, MOST] = [2, 4];
let request = new AbortController();
let carried = ''; // the text that was taken over from the other view
let times = {}; // milliseconds of the last comparison by configuration
const chart = new Points($('chart-cost'));

export async function enter() {
  await refresh().catch((error) => say('compare-error', error.message));
  fill($('compare-source'), sources().map((code) => [code, language(code)]));
  if (!$('compare-text').value || $('compare-text').value === carried) {
    carried = $('compare-text').value = $('text').value;
    pair();
  }
  choices();
}

export const keyed = () => compare();

/** Open on the pair of the other view if two of its configurations can be compared, else on the pair with the most. */
function pair() {
  const usable = ({ source, target }) => {
    const { live, available, chain } = answering(source, target);
    return [(token.value ? available : live).length, chain.length === 1 ? chain[0].configurations.length : 0];
  };
  const here = wayOf($('source').value, $('target').value);
  const pairs = everyPair();
  if (!pairs.length) return;
  const [best] = [...pairs].sort((a, b) => usable(b)[0] - usable(a)[0] || usable(b)[1] - usable(a)[1]);
  const chosen = here && usable(here)[0] >= FEWEST ? here : best;
  $('compare-source').value = chosen.source;
  fill($('compare-target'), targets(chosen.source).map((code) => [code, language(code)]), chosen.target);
}

const found = () => answering($('compare-source').value, $('compare-target').value);
const chosen = () => [...$('compare-table').querySelectorAll('input:checked')].map((box) => box.value);

/** A row for each configuration; what is not live needs the token, which may load it. */
function choices() {
  fill($('compare-target'), targets($('compare-source').value).map((code) => [code, language(code)]));
  const before = chosen();
  const { chain, live, available } = found();
  const { active, configurations = [] } = chain[0] ?? {};
  const usable = configurations.filter(({ name }) => live.includes(name) || (available.includes(name) && token.value)).map(({ name }) => name);
  const first = before.filter((name) => usable.includes(name)).length >= FEWEST ? before : [active, ...usable.filter((name) => name !== active)].slice(0, FEWEST);
  const measured = chain.length === 1; // no test set was translated by several models
  const sets = measured ? [...new Set(configurations.flatMap((one) => Object.keys(one.quality)))] : [];
  const alone = usable.length < FEWEST; // nothing to choose, and nothing to press
  for (const id of ['compare-how', 'compare-own', 'compare-run']) $(id).hidden = alone;
  table($('compare-table'), [t('Configuration'), t('Bits per weight'), 'MB', ...(alone ? [] : [t('This request')]), ...sets.map((set) => `BLEU ${set.replaceAll('_', ' ')}`)],
    [...configurations].sort((a, b) => a.bytes - b.bytes).map((one) => {
      const known = usable.includes(one.name);
      const box = element('input', { type: 'checkbox', value: one.name, disabled: !known, checked: known && first.includes(one.name) });
      box.dataset.usable = known || '';
      return {
        className: one.name === active ? 'active' : '',
        cells: [alone ? one.name : element('label', { className: 'check' }, box, one.name), number(one.bits_per_weight, 2), number(one.bytes / 1e6, 1),
          ...(alone ? [] : [one.name in times ? milliseconds(times[one.name]) : '–']), ...sets.map((set) => number(quality(one, 'bleu', set)))],
      };
    }));
  $('compare-hint').textContent = token.value ? t('What is not live is loaded for it, and stays until you unload it under Administration.')
    : alone ? t('Only {name} is live here, so the figures are from the test sets. Where an administrator loads more, the same text can be seen under each.', { name: usable.join(', ') || '–' })
      : t('Only live configurations answer; with the token of Administration the others are loaded when they are chosen.');
  limit();
  const points = configurations.map((one) => ({ x: one.bytes / 1e6, y: quality(one, 'bleu'), name: one.name, live: one.name === active }));
  $('figure-cost').hidden = !measured || !points.some(({ y }) => y !== undefined);
  if (!$('figure-cost').hidden) chart.show(points, t('Megabytes and BLEU'));
}

/** No more than four. */
function limit() {
  const full = chosen().length >= MOST;
  for (const box of $('compare-table').querySelectorAll('input')) {
    if (!box.checked) box.disabled = full || !box.dataset.usable;
  }
}

async function compare() {
  const names = chosen();
  say('compare-error');
  if (names.length < FEWEST || names.length > MOST) {
    say('compare-error', t('Choose {few} to {many} configurations; live are {names}.', { few: FEWEST, many: MOST, names: found().live.join(', ') || '–' }));
    return;
  }
  request.abort();
  const own = request = new AbortController();
  const answers = [];
  times = {};
  try {
    for (const name of names) { // one after the other, so that none waits for another
      $('compare-progress').textContent = `${name} …`;
      answers.push(await answer(name, own.signal));
      times[name] = answers.at(-1).latency_ms.total;
      cards(answers);
    }
    choices();
    $('compare-progress').textContent = t('{n} translations', { n: names.length });
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
  const body = { text: $('compare-text').value, source: $('compare-source').value, target: $('compare-target').value, config: name };
  const reply = await ask('v1/translate', { method: 'POST', body, signal });
  return { ...reply, text: reply.translations[0].text };
}

/** The translations; the one of the most bits is what the others are compared with. */
function cards(answers) {
  const bits = (answer) => answer.model.bits_per_weight;
  const reference = answers.reduce((best, other) => (bits(other) > bits(best) ? other : best));
  $('compare-results').replaceChildren(...answers.map((answer) => {
    const parts = difference(reference.text, answer.text);
    const tag = { same: 'span', added: 'ins', removed: 'del' };
    const text = element('p', { className: 'text', lang: $('compare-target').value },
      ...(answer === reference ? [answer.text] : parts.map(({ kind, text }) => element(tag[kind], { textContent: text }))));
    const { words, added, removed } = changed(parts);
    return element('article', { className: 'card' },
      element('h3', { textContent: t('{name}, {bits} bits, {size}', { name: answer.model.config, bits: number(bits(answer), 2), size: megabytes(answer.memory.model_bytes) }) }), text,
      element('p', { className: 'hint', textContent: answer === reference ? t('The others are compared with this one.')
        : !added && !removed ? t('The same words.') : t('{added} of {words} words are others, {removed} are missing.', { added, words, removed }) }));
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
$('compare-table').addEventListener('change', limit);
for (const side of ['source', 'target']) {
  $(`compare-${side}`).addEventListener('change', () => {
    times = {};
    choices();
  });
}
