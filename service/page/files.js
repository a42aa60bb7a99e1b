// A file in, the same file translated: upload, progress, cancel, download.
import { ask, events, fetched } from './api.js';
import { $, say } from './dom.js';

let request = new AbortController();
let id; // of the file that the server has

const path = (rest = '') => `v1/files/${id}${rest}`;

/** Translate the chosen file; `source` and `target` are codes. */
async function translate(file, source, target) {
  request.abort();
  const own = request = new AbortController();
  await forget();
  const form = new FormData();
  for (const [name, value] of Object.entries({ file, source, target })) form.append(name, value);
  tell('Uploading …', true);
  try {
    ({ id } = await ask('v1/files', { method: 'POST', body: form, signal: own.signal }));
    for await (const { data } of events(path('/events'), { signal: own.signal })) {
      if (data.status === 'failed' || data.status === 'cancelled') throw new Error(data.error ?? 'The file was cancelled.');
      $('file-progress').value = data.progress;
      tell(`${data.status[0].toUpperCase()}${data.status.slice(1)}, ${Math.round(100 * data.progress)} %`, data.status !== 'done');
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
  Object.assign(link, { download: name, textContent: `Save ${name}`, hidden: false });
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
  $('file-status').textContent = words;
  $('file-progress').hidden = $('file-cancel').hidden = !running;
  if (words.startsWith('Upl')) $('file-progress').removeAttribute('value'); // how long it takes isn't known
}

$('file').addEventListener('change', () => {
  const [file] = $('file').files;
  if (file) translate(file, $('source').value, $('target').value);
});
$('file-cancel').addEventListener('click', async () => {
  request.abort();
  await forget();
  $('file').value = '';
  tell('Cancelled');
  $('file').focus();
});
