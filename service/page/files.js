// A file in, the same file translated: chosen or dropped, upload, progress, cancel, download.
import { ask, events, fetched } from './api.js';
import { $, say } from './dom.js';
import { t } from './texts.js';

let request = new AbortController();
let id; // of the file that the server has

const path = (rest = '') => `v1/files/${id}${rest}`;
const STATUS = { queued: 'Queued, {percent} %', translating: 'Translating, {percent} %', done: 'Done, {percent} %' };

/** Translate a file between the chosen languages. */
async function translate(file) {
  request.abort();
  const own = request = new AbortController();
  await forget();
  const form = new FormData();
  const fields = { file, source: $('source').value, target: $('target').value, ...($('glossary').value && { glossary: $('glossary').value }) };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  tell(t('Uploading {name} …', { name: file.name }), true);
  $('file-progress').removeAttribute('value'); // how long it takes isn't known
  try {
    ({ id } = await ask('v1/files', { method: 'POST', body: form, signal: own.signal }));
    for await (const { data } of events(path('/events'), { signal: own.signal })) {
      if (data.status === 'failed' || data.status === 'cancelled') throw new Error(data.error ?? t('The file was cancelled.'));
      $('file-progress').value = data.progress;
      tell(t(STATUS[data.status], { percent: Math.round(100 * data.progress) }), data.status !== 'done');
      if (data.status === 'done') await offer(data.name, own.signal);
    }
  } catch (error) {
    if (own.signal.aborted) return;
    tell('');
    say('translate-error', error.message);
    if (error.status === 401) $('key-form').hidden = false;
  }
}

/** A link to the translation, which is fetched here because a link could not send the API key. */
async function offer(name, signal) {
  const link = $('file-result');
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(await (await fetched(path('/result'), { signal })).blob());
  Object.assign(link, { download: name, textContent: t('Save {name}', { name }), hidden: false });
  link.focus();
}

/** Have the server forget the file, which cancels what is not done. */
async function forget() {
  $('file-result').hidden = true;
  if (id) await fetched(path(), { method: 'DELETE' }).catch(() => {});
  id = undefined;
}

function tell(words, running = false) {
  say('translate-error');
  $('file-box').hidden = !words;
  $('file-status').textContent = words;
  $('file-progress').hidden = $('file-cancel').hidden = !running;
}

$('choose-file').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  const [file] = $('file').files;
  if (file) translate(file);
  $('file').value = ''; // the same one may be chosen again
});
$('file-cancel').addEventListener('click', async () => {
  request.abort();
  await forget();
  tell(t('Cancelled'));
  $('choose-file').focus();
});

// A file may be dropped anywhere on the page, whatever view is shown.
const carriesFile = (event) => event.dataTransfer?.types.includes('Files');
addEventListener('dragover', (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  $('drop').hidden = false;
});
addEventListener('dragleave', (event) => { if (!event.relatedTarget) $('drop').hidden = true; });
addEventListener('drop', (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  $('drop').hidden = true;
  const [file] = event.dataTransfer.files;
  if (document.querySelector('[data-view=translate]').hidden) location.hash = 'translate';
  if (file) translate(file);
});
