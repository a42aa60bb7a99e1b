// Translate: the translation as it is made, in which languages, and what it cost.
import { answering, ask, events, key, refresh, sources, targets, wayOf } from './api.js';
import './files.js';
import { $, copied, debounced, element, fill, kept, language, megabytes, milliseconds, number, say } from './dom.js';
import { onRestore, remember } from './history.js';
import { locale, t } from './texts.js';
import { offer, withdraw } from './wording.js';

const STAGES = ['queue', 'tokenize', 'encode', 'decode', 'detokenize'];
const SURE = 0.5; // of a language, to say so
const MOST_IN_ADDRESS = 2000; // characters
const OURS = { 'zh-CN': 'zh', 'zh-TW': 'zt', 'pt-BR': 'pb' }; // Google's codes that are not ours
let request = new AbortController();
let found = ''; // the source's first choice while it names a detected language
let detected; // the language of the last text
let started = false;

/** Fill the choices with what is live: at once with what is known, since a file may be chosen as soon as the view is seen. */
export async function enter() {
  const first = !started;
  started = true;
  languages();
  if (first || location.hash.includes('?')) begin();
  else address();
  if (document.activeElement === document.body && matchMedia('(pointer: fine)').matches) $('text').focus();
  await refresh().catch(() => {});
  languages();
  await glossaries();
}

/** Take text and languages from the address, as this page or LibreTranslate's writes it; else those of last time, or the page's. */
function begin() {
  const given = new URLSearchParams(location.hash.split('?')[1] ?? location.search);
  const last = kept.get('languages') ?? {};
  for (const side of ['source', 'target']) {
    const code = given.get(side) ?? last[side] ?? (side === 'target' ? locale : undefined);
    if ([...$(side).options].some(({ value }) => value === code)) $(side).value = code;
    choices();
  }
  $('text').value = given.get('text') ?? given.get('q') ?? $('text').value;
  if ($('text').value) translate();
}

/** Keep text and languages in the part of the address that a browser does not send to the server. */
function address() {
  const [source, target, text] = ['source', 'target', 'text'].map((id) => $(id).value);
  const fields = new URLSearchParams({ source, target, ...(text.length <= MOST_IN_ADDRESS && text && { text }) });
  history.replaceState(null, '', `${location.pathname}#translate?${fields}`);
}

/** Fill the choices of languages; a file may be dropped before the view is first seen. */
export function languages() {
  fill($('source'), [['auto', found || t('Detect language')], ...sources().map((code) => [code, language(code)])]);
  choices();
}

async function glossaries() {
  const { glossaries: stored } = await ask('v1/glossaries').catch(() => ({ glossaries: [] }));
  const [source, target] = [$('source').value, $('target').value];
  const fitting = stored.filter((one) => one.target === target && (source === 'auto' || one.source === source));
  fill($('glossary'), [['', fitting.length ? t('none') : t('none is stored')], ...fitting.map(({ id, name, entry_count: n }) => [id, `${name} (${n})`])]);
}

export const keyed = () => translate();

/** What follows from the languages: the targets of the source, the configurations that may be pinned, whether there is a way back. */
function choices() {
  fill($('target'), targets($('source').value).map((code) => [code, language(code)]));
  const target = $('target').value;
  const { chain, live } = answering($('source').value, target);
  const active = [...new Set(chain.map((model) => model.active))].join(', ');
  fill($('config'), [['', active ? t('as served ({active})', { active }) : t('as served')], ...live.map((name) => [name, name])]);
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
  $('count').textContent = text ? t([...text].length === 1 ? '1 character' : '{n} characters', { n: number([...text].length, 0) }) : '';
  $('clear').hidden = !text;
  $('card').classList.toggle('long', text.length > 300);
  say('translate-error');
  withdraw();
  address();
  kept.set('languages', { source: $('source').value, target: $('target').value });
  if (!text.trim()) {
    show('');
    $('progress').textContent = '';
    $('cost').hidden = $('code').hidden = $('alternatives-box').hidden = true;
    guessed();
    return;
  }
  const body = { text, source: $('source').value, target: $('target').value, alternatives: Number($('alternatives').value), alignment: true };
  for (const field of ['config', 'glossary']) if ($(field).value) body[field] = $(field).value;
  $('progress').textContent = t('Translating …');
  if (body.source !== 'auto') check(text, body.source, own.signal);
  try {
    let [made, position] = ['', 0];
    const sentences = [];
    for await (const { event, data } of events('v1/translate/stream', { method: 'POST', body, signal: own.signal })) {
      if (own.signal.aborted) return;
      if (event === 'sentence') {
        const start = text.indexOf(data.source, position);
        made += (start < 0 ? ' ' : text.slice(position, start)) + data.translation;
        position = start < 0 ? position : start + data.source.length;
        sentences.push(data);
        show(made);
        $('progress').textContent = t('Translating … {n}', { n: sentences.length });
      } else if (event === 'done') {
        finish(body, data, sentences);
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

/** What was refused stands where the translation would: an old one is not the translation of this text. */
function refused(error) {
  show('');
  $('progress').textContent = '';
  $('cost').hidden = $('code').hidden = $('alternatives-box').hidden = true;
  say('translate-error', error.message);
  if (error.status === 401 || (error.status === 403 && key.value)) {
    $('key-form').hidden = false;
    $('key').focus();
  }
}

function finish(body, reply, sentences) {
  const { translations: [translation], model, models: all = [model], latency_ms, memory } = reply;
  const guess = translation.detected;
  if (turned(guess)) return;
  detected = guess?.language;
  if (body.source === 'auto') guessed(guess);
  offer(body.text, translation.text, translation.alignment ?? [], sentences, { ...body, source: source(guess) });
  $('copy').disabled = false;
  $('swap').disabled = !wayOf($('target').value, back());
  const { cut_sentences: cut, via } = translation;
  $('progress').textContent = t(sentences.length === 1 ? '1 sentence in {time}' : '{n} sentences in {time}', { n: sentences.length, time: milliseconds(latency_ms.total) })
    + (via ? t(', by way of {languages}', { languages: via.map(language).join(', ') }) : '')
    + (cut ? t('; {n} too long for the model at once, cut at clauses', { n: cut }) : '');
  $('alternatives-box').hidden = !translation.alternatives.length;
  $('alternatives-list').replaceChildren(...translation.alternatives.map(({ text, score }) =>
    element('li', { lang: $('target').value }, text, element('span', { className: 'hint', textContent: ` (${number(score, 2)})` }))));
  cost(all, latency_ms, memory);
  code(body, reply);
  remember({ source: source(guess), target: body.target, text: body.text, translation: translation.text });
}

/** The language that a text was translated from: the chosen one, or the detected one if it can be translated. */
function source(guess) {
  const known = sources();
  if ($('source').value !== 'auto') return $('source').value;
  return known.includes(guess?.language) ? guess.language : wayOf('auto', $('target').value)?.source;
}

/** A text in the language that it was to be translated into goes into another one, where there is a way. */
function turned(guess) {
  if (!(guess?.confidence > SURE) || guess.language !== $('target').value || !targets(guess.language).length) return false;
  [$('target').value] = targets(guess.language);
  choices();
  translate();
  return true;
}

/** Ask what language a text is in that is to be translated from a chosen one. */
async function check(text, chosen, signal) {
  guessed();
  if ([...text.trim()].length < 4) return;
  const body = { q: text.slice(0, 2000), ...(key.value && { key: key.value }) };
  // Google's, since it names languages that no model here translates, too
  const reply = await ask('language/translate/v2/detect', { method: 'POST', body, signal }).catch(() => undefined);
  if (signal.aborted || !reply) return;
  const [{ language: theirs, confidence }] = reply.data.detections[0];
  const code = OURS[theirs] ?? theirs;
  if (code !== 'und' && code !== chosen) guessed({ language: code, confidence }, chosen);
}

/** Say what language the text seems to be in; with another one chosen, offer to switch. */
function guessed(guess, chosen) {
  const auto = $('source').options[0];
  const sure = guess?.confidence >= SURE;
  const served = sources().includes(guess?.language);
  found = guess && !chosen && served ? t('{language} (detected)', { language: language(guess.language) }) : '';
  auto.textContent = found || t('Detect language');
  const note = $('guess');
  note.hidden = !(sure && (chosen || !served));
  if (note.hidden) return;
  const name = language(guess.language);
  if (!served) {
    note.textContent = t('This looks like {language}, which no model here translates; the translation will make little sense.', { language: name });
    return;
  }
  const change = element('button', { type: 'button', textContent: t('Translate from {language}', { language: name }), onclick: () => switchTo(guess.language) });
  note.replaceChildren(t('This looks like {language}.', { language: name }), ' ', change);
}

function switchTo(code) {
  const before = $('source').value;
  $('source').value = code;
  choices();
  if ([...$('target').options].some(({ value }) => value === before)) $('target').value = before;
  choices();
  $('text').focus();
  translate();
}

/** What a request took: the stages, and what lies between them, add up to the total. */
function cost(all, latency, memory) {
  $('cost').hidden = false;
  const each = (figure) => all.map(figure).join(', ');
  $('cost-short').textContent = [milliseconds(latency.total), megabytes(memory.model_bytes), each(({ config }) => config)].join(' · ');
  const between = Math.max(0, latency.total - STAGES.reduce((sum, stage) => sum + latency[stage], 0));
  const stages = [...STAGES.map((stage) => [t(stage), latency[stage]]), [t('in between'), between]];
  const share = (n) => `${20 * n}%`;
  $('stages').replaceChildren(...stages.map(([stage, ms], n) => {
    const part = element('span', { title: `${stage}: ${milliseconds(ms)}` });
    part.style.flexGrow = ms;
    part.style.setProperty('--share', share(n));
    return part;
  }));
  $('stages').setAttribute('aria-label', stages.map(([stage, ms]) => `${stage} ${milliseconds(ms)}`).join(', '));
  list($('latency'), [...stages.map(([stage, ms]) => [stage, milliseconds(ms)]), [t('total'), milliseconds(latency.total)]]);
  for (const [n, title] of [...$('latency').querySelectorAll('dt:not(:last-of-type)')].entries()) {
    const colour = element('span', { className: 'key' });
    colour.style.setProperty('--share', share(n));
    title.prepend(colour);
  }
  list($('memory'), [
    [t('weights'), megabytes(memory.model_bytes)], [t('workspace, peak'), megabytes(memory.workspace_peak_bytes)],
    [t('keys and values, peak'), megabytes(memory.kv_cache_peak_bytes)], [t('the whole process'), megabytes(memory.process_rss_bytes)],
  ]);
  list($('weights'), [
    [t('model'), each(({ name }) => name)], [t('configuration'), each(({ config }) => config)],
    [t('bits per weight'), each((model) => number(model.bits_per_weight, 2))], [t('version'), each(({ version }) => version)],
  ]);
}

const list = (target, pairs) => target.replaceChildren(...pairs.flatMap(([term, value]) =>
  [element('dt', { textContent: term }), element('dd', { textContent: value })]));

/** The same request for a shell, and its reply. */
function code(body, reply) {
  $('code').hidden = false;
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const secret = key.value ? ' -H "X-Api-Key: $KEY"' : '';
  const address = new URL('v1/translate', document.baseURI);
  $('curl').textContent = `curl -s ${address}${secret} -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(body))}`;
  $('reply').textContent = JSON.stringify(reply, null, 1);
}

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

onRestore(({ source: from, target, text }) => {
  $('source').value = from;
  choices();
  $('target').value = target;
  $('text').value = text;
  choices();
  $('text').focus();
  translate();
});
$('text').addEventListener('input', debounced(translate, 200));
for (const id of ['source', 'target']) $(id).addEventListener('change', choices);
for (const id of ['source', 'target']) $(id).addEventListener('change', glossaries);
for (const id of ['source', 'target', 'config', 'alternatives', 'glossary']) $(id).addEventListener('change', translate);
$('swap').addEventListener('click', swap);
$('clear').addEventListener('click', () => {
  $('text').value = '';
  $('text').focus();
  translate();
});
$('copy').addEventListener('click', async () => {
  await copied($('translation').textContent, $('translation'));
  $('progress').textContent = t('Copied');
});
$('copy-curl').addEventListener('click', () => copied($('curl').textContent, $('curl')));
addEventListener('keydown', (event) => {
  if (event.altKey && event.code === 'KeyS' && !document.querySelector('[data-view=translate]').hidden) {
    event.preventDefault();
    swap();
  }
});
