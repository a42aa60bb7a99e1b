// Administration: what is live and what could be, swap, canary, the memory budget, and how the server bears it.
import { ask, events, models, quality, read, refresh, token } from './api.js';
import { Live, Points } from './charts.js';
import { $, debounced, element, fill, megabytes, number, say, table } from './dom.js';
import { t } from './texts.js';

const SECOND = 1000;
const swaps = []; // times of changes, for the live charts
const charts = {
  bytes: new Points($('chart-bytes')), ms: new Points($('chart-ms')),
  latency: new Live($('live-latency'), t('Latency in milliseconds'), swaps),
  queue: new Live($('live-queue'), t('Sentences waiting and running'), swaps, true),
  memory: new Live($('live-memory'), t('Resident megabytes'), swaps),
};
let visit = new AbortController(); // ends when the view is left
let state; // what the server said of the model last
let installed = []; // the models that are served or could be
let preview; // what the budget would choose

const path = (rest = '') => `admin/models/${encodeURIComponent($('model').value)}${rest}`;

export async function enter() {
  visit.abort();
  const own = visit = new AbortController();
  say('admin-error');
  $('admin').hidden = true;
  $('token-form').hidden = Boolean(token.value);
  if (!token.value) return;
  installed = [];
  let chosen;
  try {
    await refresh();
    ({ models: installed } = await ask('admin/models'));
    const [most] = [...models].sort((a, b) => b.configurations.length - a.configurations.length);
    fill($('model'), installed.map(({ name, state: word }) => [name, word === 'live' ? name : `${name} (${word})`]), $('model').value || most?.name);
    chosen = installed.find(({ name }) => name === $('model').value);
    $('served').hidden = chosen.state !== 'live';
    $('move').textContent = t($('served').hidden ? 'Add it' : 'Remove it');
    $('admin-status').textContent = `${t('{name} is not served.', { name: chosen.name })} ${chosen.reason ?? ''}`;
    if (!$('served').hidden) await update();
  } catch (error) {
    refused(error);
    return;
  }
  $('admin').hidden = false;
  if ($('served').hidden) return;
  draw();
  follow(own.signal);
  watch(own.signal);
}

/** Serve the chosen model, or serve it no longer. */
async function move() {
  $('move').disabled = true;
  try {
    await ask(path(), { method: $('served').hidden ? 'PUT' : 'DELETE' });
    await enter();
  } catch (error) {
    refused(error);
  }
  $('move').disabled = false;
}

export const leave = () => visit.abort();

function refused(error) {
  if (error.status === 404 && installed.length) { // somebody removed the model
    enter();
    return;
  }
  if (error.status === 401 || error.status === 404) {
    token.value = '';
    $('admin').hidden = true;
    $('token-form').hidden = false;
    $('token').value = '';
    $('token').focus();
  }
  say('admin-error', error.status === 401 ? t('The server does not know this token.')
    : error.status === 404 ? t('Administration is off: start the server with SUB3_ADMIN_TOKEN.') : error.message);
}

/** Ask what the model serves, and show it. */
async function update() {
  state = await ask(path());
  const sets = [...new Set(state.configurations.flatMap((configuration) => Object.keys(configuration.quality)))];
  fill($('test-set'), [['', t('all test sets, mean')], ...sets.map((set) => [set, set])]);
  $('admin-status').textContent = [
    t('{name} answers: {bits} bits per weight, {size}.', { name: state.active.config, bits: number(state.active.bits_per_weight, 2), size: megabytes(state.model_bytes) }),
    state.memory.limit_bytes ? t('The process has {size} of {limit}.', { size: megabytes(state.memory.process_rss_bytes), limit: megabytes(state.memory.limit_bytes) })
      : t('The process has {size}.', { size: megabytes(state.memory.process_rss_bytes) }),
    state.saved ? '' : t('A restart would forget this.')].join(' ');
  budget();
  planes();
  canary();
  history();
  draw();
  if (preview) await foresee();
}

/** Do something that changes the model; the reply's warning or the refusal is shown. */
async function act(method, rest, body) {
  say('admin-error');
  try {
    const reply = await ask(path(rest), { method, body });
    await update();
    if (reply.warning) say('admin-error', reply.warning);
    await refresh();
  } catch (error) {
    refused(error);
  }
}

/** The charts and the table of configurations. */
function draw() {
  const set = $('test-set').value;
  const roles = Object.fromEntries(state.live.map(({ config, role }) => [config, role]));
  const figures = state.configurations.map((configuration) => ({
    ...configuration, role: roles[configuration.name], bleu: quality(configuration, 'bleu', set), ms: quality(configuration, 'ms_per_sentence', set),
  }));
  const points = (x) => figures.map((entry) => ({ x: x(entry), y: entry.bleu, name: entry.name, live: entry.role === 'active' }));
  if (!$('admin').hidden) { // a hidden box has no size to draw in
    charts.bytes.show(points(({ bytes }) => bytes / 1e6), t('Megabytes and BLEU'));
    $('figure-ms').hidden = figures.every(({ ms }) => ms === undefined);
    if (!$('figure-ms').hidden) charts.ms.show(points(({ ms }) => ms), t('Milliseconds and BLEU'));
  }
  const custom = state.live.filter(({ config }) => !state.configurations.some(({ name }) => name === config))
    .map(({ config, role, bits_per_weight: bits, model_bytes: bytes }) => ({ name: config, role, bits_per_weight: bits, bytes, available: true }));
  table($('configurations'), [t('Configuration'), t('Role'), t('Bits per weight'), 'MB', 'BLEU', t('ms a sentence'), ''],
    [...figures, ...custom].sort((a, b) => a.bytes - b.bytes).map((entry) => ({
      className: entry.role ?? '',
      cells: [entry.name, entry.role ? t(entry.role) : entry.available ? '' : entry.reason, number(entry.bits_per_weight, 2),
        number(entry.bytes / 1e6, 1), number(entry.bleu), number(entry.ms), buttons(entry)],
    })));
}

function buttons({ name, role, available }) {
  const config = `/configs/${encodeURIComponent(name)}`;
  const button = (word, work) => element('button', { type: 'button', textContent: t(word), ariaLabel: `${t(word)} ${name}`, onclick: work });
  const policy = () => $('policy').value;
  const made = [];
  if (available && role !== 'active' && !name.startsWith('custom-')) {
    made.push(button('Serve', () => act('PUT', '/config', { config: name, policy: policy() })));
    if (role !== 'canary') {
      made.push(button('Canary', () => act('PUT', '/config', { config: name, policy: policy(), canary_percent: Number($('percent').value) })));
    }
    if (!role) made.push(button('Load', () => act('PUT', config)));
  }
  if (role === 'loaded') made.push(button('Unload', () => act('DELETE', config)));
  return element('span', {}, ...made);
}

/** The canary beside the active configuration. */
function canary() {
  const report = state.canary;
  $('canary').hidden = !report;
  if (!report) return;
  table($('canary-table'), ['', t('Requests'), t('Mean ms'), 'p95 ms', t('Weights'), t('Most for a request')],
    [report.active, report.canary].map((side) => ({ cells: [side.config, String(side.requests), number(side.mean_ms, 2), number(side.p95_ms, 2),
      megabytes(side.model_bytes), megabytes(side.peak_request_bytes)] })));
  $('canary-agreement').textContent = `${t('{name} gets {percent} % of the requests.', { name: report.canary.config, percent: report.percent })} `
    + (report.texts_compared ? t('Of {n} texts compared, {same} have the same words.', { n: report.texts_compared, same: report.texts_equal }) : t('No text was compared yet.'));
}

/** The slider's ends and marks are the configurations' bytes. */
function budget() {
  const bytes = state.configurations.filter(({ available }) => available).map((configuration) => configuration.bytes);
  const slider = $('budget');
  const first = !slider.dataset.ready;
  Object.assign(slider, { min: Math.min(...bytes), max: Math.max(...bytes), step: 1024 });
  if (first) slider.value = state.model_bytes;
  slider.dataset.ready = 'true';
  const [least, most] = [Number(slider.min), Number(slider.max)];
  $('budget-scale').replaceChildren(...(least < most ? [0, 0.25, 0.5, 0.75, 1] : []).map((part) => element('span', { textContent: megabytes(least + part * (most - least)) })));
  $('budget-marks').replaceChildren(...bytes.map((value) => element('option', { value })));
  spell();
}

const wanted = () => (Number($('budget').value) + 1024 > Number($('budget').max) ? Number($('budget').max) : Number($('budget').value));

function spell() {
  $('budget-value').textContent = megabytes(wanted());
  $('budget').setAttribute('aria-valuetext', megabytes(wanted()));
}

async function foresee() {
  try {
    preview = await ask(path('/config/preview'), { method: 'POST', body: { memory_budget_bytes: wanted() } });
  } catch (error) {
    preview = undefined;
    refused(error);
    return;
  }
  const same = preview.config === state.active.config;
  $('budget-choice').textContent = t('{name}: {bits} bits per weight, {size}, BLEU {bleu}.', { name: preview.config, bits: number(preview.bits_per_weight, 2),
    size: megabytes(preview.bytes), bleu: number(quality(preview, 'bleu', $('test-set').value)) }) + ` ${same ? t('It answers already.') : preview.warning ?? ''}`;
  $('budget-apply').disabled = same;
  planes();
}

/** Planes per block and layer as a heat map: what answers, or what the budget would choose with the changes marked. */
function planes() {
  const shown = preview ?? { config: state.active.config, blocks: state.blocks };
  const layers = Math.max(...shown.blocks.map(({ layers }) => layers.length), 1);
  const before = Object.fromEntries(state.blocks.map((block) => [block.block, block]));
  const cell = (now, old, span = 1) => {
    const text = now.planes.join(', ') || '–';
    const made = element('td', { textContent: text, colSpan: span });
    made.style.setProperty('--planes', now.planes.length ? now.planes.reduce((sum, n) => sum + n) / now.planes.length : 0);
    if (old && old.planes.join() !== now.planes.join()) {
      made.className = 'changed';
      made.title = t('now {planes}', { planes: old.planes.join(', ') });
    }
    return made;
  };
  const heading = (text) => element('th', { scope: 'col', textContent: text });
  $('planes').replaceChildren(
    element('caption', { textContent: shown.config === state.active.config ? t('{name}, which answers', { name: shown.config })
      : t('{name}, not served yet; outlined: other than in {other}', { name: shown.config, other: state.active.config }) }),
    element('thead', {}, element('tr', {}, heading(t('Block')), ...Array.from({ length: layers }, (_, n) => heading(t('layer {n}', { n: n + 1 }))), heading('MB'))),
    element('tbody', {}, ...shown.blocks.map((block) => element('tr', {},
      element('th', { scope: 'row', textContent: block.block }),
      ...(block.layers.length ? block.layers.map((part, n) => cell(part, before[block.block]?.layers[n])) : [cell(block, before[block.block], layers)]),
      ...(block.layers.length && block.layers.length < layers ? [element('td', { colSpan: layers - block.layers.length })] : []),
      element('td', { className: 'number', textContent: number(block.bytes / 1e6, 2) })))),
  );
}

function history() {
  table($('history'), ['Time', 'Who', 'What', 'Result', 'Before', 'After', 'ms', 'Why'].map((title) => t(title)), state.history.toReversed().map((event) => ({
    cells: [new Date(event.time).toLocaleString(), event.who, event.what, event.result, event.before, event.after,
      number(event.milliseconds, 1), event.detail ?? ''],
  })));
}

/** Show what anybody changes, as it happens. */
async function follow(signal) {
  while (!signal.aborted) {
    try {
      for await (const { data } of events(path('/events'), { signal })) {
        if (data.result === 'ok') swaps.push(Date.parse(data.time) / SECOND);
        await update();
      }
    } catch (error) {
      if (!signal.aborted) refused(error);
    }
    await pause(signal);
  }
}

/** Read the server's figures once a second, while the page is looked at. */
async function watch(signal) {
  const before = {}; // by the process that answered: behind a proxy there may be several
  for (let turn = 0; !signal.aborted; turn += 1) {
    if (!document.hidden) {
      try {
        const text = await read('admin/metrics', { signal });
        const now = Object.fromEntries([...text.matchAll(/^(\w[^ ]+) ([^ \n]+)$/gm)].map(([, name, value]) => [name, Number(value)]));
        const process = now.process_start_time_seconds;
        show(now, before[process]);
        before[process] = now;
        if (state.canary && turn % 4 === 0) {
          state = await ask(path(), { signal });
          canary();
        }
      } catch { /* the stream of events says what is wrong */ }
    }
    await pause(signal);
  }
}

function show(now, before) {
  const [sum, count] = ['sum', 'count'].map((part) => `sub3_stage_seconds_${part}{stage="total"}`);
  const requests = before ? (now[count] ?? 0) - (before[count] ?? 0) : 0;
  const latency = requests > 0 ? (SECOND * (now[sum] - (before[sum] ?? 0))) / requests : null;
  const memory = now.sub3_process_resident_bytes / 1e6;
  const time = Date.now() / SECOND;
  charts.latency.add(time, latency);
  charts.queue.add(time, now.sub3_queue_sentences, now.sub3_running_sentences);
  charts.memory.add(time, memory);
  $('live-now').textContent = t('{n} requests in the last second, {ms} ms; {waiting} sentences wait, {running} run; {mb} MB resident.', {
    n: requests, ms: number(latency), waiting: now.sub3_queue_sentences, running: now.sub3_running_sentences, mb: number(memory, 1) });
}

const pause = (signal) => new Promise((resolve) => {
  setTimeout(resolve, SECOND);
  signal.addEventListener('abort', resolve);
});

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token.value = $('token').value.trim();
  enter();
});
$('move').addEventListener('click', move);
$('leave').addEventListener('click', () => {
  token.value = $('token').value = '';
  enter();
});
$('model').addEventListener('change', () => {
  preview = undefined;
  $('budget-choice').textContent = '';
  delete $('budget').dataset.ready;
  enter();
});
$('test-set').addEventListener('change', draw);
$('budget').addEventListener('input', spell);
$('budget').addEventListener('input', debounced(foresee, 100));
$('budget-apply').addEventListener('click', () => {
  $('budget-apply').disabled = true;
  act('PUT', '/config', { memory_budget_bytes: wanted(), policy: $('policy').value });
});
$('promote').addEventListener('click', () => act('POST', '/promote'));
$('rollback').addEventListener('click', () => act('POST', '/rollback'));
