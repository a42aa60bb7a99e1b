// Translate: the translation as it is made, the alternatives, and what it cost.
import * as attention from './attention.js';
import { answering, events, key, refresh, sources, targets, wayOf } from './api.js';
import './files.js';
import { $, debounced, element, fill, language, megabytes, milliseconds, say } from './dom.js';

const STAGES = ['queue', 'tokenize', 'encode', 'decode', 'detokenize'];
let request = new AbortController();
let detected; // the language of the last text

/** Fill the choices with what is live: at once with what is known, since a file may be chosen as soon as the view is seen. */
export async function enter() {
  languages();
  if (document.activeElement === document.body && matchMedia('(pointer: fine)').matches) $('text').focus();
  await refresh().catch(() => {});
  languages();
}

function languages() {
  fill($('source'), [['auto', 'Detect'], ...sources().map((code) => [code, language(code)])]);
  choices();
}

export const keyed = () => translate();

/** What follows from the languages: the targets of the source, the configurations that may be pinned, whether there is a way back. */
function choices() {
  fill($('target'), targets($('source').value).map((code) => [code, language(code)]));
  const target = $('target').value;
  const { chain, live } = answering($('source').value, target);
  const active = [...new Set(chain.map((model) => model.active))].join(', ');
  fill($('config'), [['', active ? `as served (${active})` : 'as served'], ...live.map((name) => [name, name])]);
  $('swap').disabled = !wayOf(target, back());
  $('translation').lang = target;
}

/** What would be the target after a swap of the languages. */
function back() {
  const [source, target] = [$('source').value, $('target').value];
  return (source === 'auto' ? wayOf(detected, target) ?? wayOf(source, target) : { source })?.source;
}

async function translate() {
  request.abort();
  const own = request = new AbortController();
  const text = $('text').value;
  $('count').textContent = text ? `${[...text].length} characters` : '';
  say('translate-error');
  if (!text.trim()) {
    show('');
    $('progress').textContent = $('detected').textContent = '';
    $('cost').hidden = $('alternatives-box').hidden = true;
    return;
  }
  const body = { text, source: $('source').value, target: $('target').value, alternatives: Number($('alternatives').value), alignment: true };
  if ($('config').value) body.config = $('config').value;
  $('progress').textContent = 'Translating …';
  try {
    let [made, position, sentences] = ['', 0, 0];
    for await (const { event, data } of events('v1/translate/stream', { method: 'POST', body, signal: own.signal })) {
      if (own.signal.aborted) return;
      if (event === 'sentence') {
        const start = text.indexOf(data.source, position);
        made += (start < 0 ? ' ' : text.slice(position, start)) + data.translation;
        position = start < 0 ? position : start + data.source.length;
        sentences += 1;
        show(made);
        $('progress').textContent = `Translating … ${sentences}`;
      } else if (event === 'done') {
        finish(text, data, sentences);
      } else {
        throw new Error(data.error);
      }
    }
  } catch (error) {
    if (own.signal.aborted) return;
    refused(error);
  }
}

/** The text so far; what is the same stays, so that a selection does. */
function show(text) {
  if ($('translation').textContent !== text) $('translation').textContent = text;
  $('copy').disabled = !text;
}

function refused(error) {
  $('progress').textContent = '';
  say('translate-error', error.message);
  if (error.status === 401 || (error.status === 403 && key.value)) {
    $('key-form').hidden = false;
    $('key').focus();
  }
}

function finish(source, { translations: [translation], model, models: all = [model], latency_ms, memory }, sentences) {
  if (turned(translation.detected)) return;
  attention.show(source, translation.text, translation.alignment ?? []);
  $('copy').disabled = false;
  const { detected: guess, cut_sentences: cut, via } = translation;
  $('detected').textContent = guess ? `Detected ${language(guess.language)}, ${(100 * guess.confidence).toFixed(0)} %` : '';
  detected = guess?.language;
  $('swap').disabled = !wayOf($('target').value, back());
  $('progress').textContent = `${sentences} ${sentences === 1 ? 'sentence' : 'sentences'} in ${milliseconds(latency_ms.total)}`
    + (via ? `, by way of ${via.map(language).join(', ')}` : '') + (cut ? `; ${cut} too long for the model at once, cut at clauses` : '');
  $('alternatives-box').hidden = !translation.alternatives.length;
  $('alternatives-list').replaceChildren(...translation.alternatives.map(({ text, score }) =>
    element('li', { lang: $('target').value }, text, element('span', { className: 'hint', lang: 'en', textContent: ` (score ${score.toFixed(2)})` }))));
  cost(all, latency_ms, memory);
}

/** A text in the language that it was to be translated into goes into another one, where there is a way. */
function turned(guess) {
  if (!(guess?.confidence > 0.5) || guess.language !== $('target').value || !targets(guess.language).length) return false;
  [$('target').value] = targets(guess.language);
  choices();
  translate();
  return true;
}

function cost(all, latency, memory) {
  $('cost').hidden = false;
  const share = (stage) => `${25 * STAGES.indexOf(stage)}%`;
  $('stages').replaceChildren(...STAGES.map((stage) => {
    const part = element('span', { title: `${stage}: ${milliseconds(latency[stage])}` });
    part.style.flexGrow = latency[stage];
    part.style.setProperty('--share', share(stage));
    return part;
  }));
  $('stages').setAttribute('aria-label', STAGES.map((stage) => `${stage} ${milliseconds(latency[stage])}`).join(', '));
  list($('latency'), [...STAGES, 'total'].map((stage) => [stage, milliseconds(latency[stage])]));
  for (const title of $('latency').querySelectorAll('dt:not(:last-of-type)')) {
    const colour = element('span', { className: 'key' });
    colour.style.setProperty('--share', share(title.textContent));
    title.prepend(colour);
  }
  list($('memory'), [
    ['weights', megabytes(memory.model_bytes)], ['workspace, peak', megabytes(memory.workspace_peak_bytes)],
    ['keys and values, peak', megabytes(memory.kv_cache_peak_bytes)], ['the whole process', megabytes(memory.process_rss_bytes)],
  ]);
  const each = (figure) => all.map(figure).join(', ');
  list($('weights'), [
    ['model', each(({ name }) => name)], ['configuration', each(({ config }) => config)],
    ['bits per weight', each((model) => model.bits_per_weight.toFixed(2))], ['version', each(({ version }) => version)],
  ]);
}

const list = (target, pairs) => target.replaceChildren(...pairs.flatMap(([term, value]) =>
  [element('dt', { textContent: term }), element('dd', { textContent: value })]));

function swap() {
  if ($('swap').disabled) return;
  const target = back();
  $('source').value = $('target').value;
  choices(); // the targets of the new source
  $('target').value = target;
  if ($('translation').textContent) $('text').value = $('translation').textContent;
  choices();
  translate();
}

async function copy() {
  const text = $('translation').textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not a secure context: a selection can be copied nevertheless
    getSelection().selectAllChildren($('translation'));
    document.execCommand('copy');
  }
  $('progress').textContent = 'Copied';
}

$('text').addEventListener('input', debounced(translate, 200));
for (const id of ['source', 'target']) $(id).addEventListener('change', choices);
for (const id of ['source', 'target', 'config', 'alternatives']) $(id).addEventListener('change', translate);
$('swap').addEventListener('click', swap);
$('copy').addEventListener('click', copy);
addEventListener('keydown', (event) => {
  if (event.altKey && event.code === 'KeyS' && !document.querySelector('[data-view=translate]').hidden) {
    event.preventDefault();
    swap();
  }
});
