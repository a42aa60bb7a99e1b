// The API reference is complete without this; with it, its requests can be sent.
import { key, token } from './api.js';
import { $ } from './dom.js';

const MOST = 100_000; // characters of a reply that are shown
const secrets = { key, token };
const base = document.baseURI.replace(/[^/]*$/, '');
let running = new AbortController();

/** The request of a form: fields that are empty are left out. */
function request(form) {
  const { method, path, type, name, header, prefix } = form.dataset;
  let address = path;
  const [query, headers] = [new URLSearchParams(), {}];
  const fields = type.startsWith('multipart') ? new FormData() : new URLSearchParams();
  let body = type && type !== 'application/json' ? fields : undefined;
  for (const input of form.elements) {
    const place = input.dataset.in ?? input.name;
    const value = place === 'file' ? input.files[0] : input.value;
    if (!value) continue;
    if (place === 'path') address = address.replace(`{${input.name}}`, encodeURIComponent(value));
    else if (place === 'query') query.append(input.name, value);
    else if (place === 'header') headers[input.name] = value;
    else if (place === 'body') body = value;
    else fields.append(input.name, value);
  }
  if (type === 'application/json') headers['Content-Type'] = type;
  if (secrets[name]?.value) headers[header] = prefix + secrets[name].value;
  return [`${base}${address.slice(1)}${query.size ? `?${query}` : ''}`, { method, headers, body }];
}

/** Send a form's request and show the reply, a stream as it comes; the next one ends it. */
async function send(form) {
  running.abort();
  running = new AbortController();
  const [status, shown] = [form.querySelector('[role=status]'), form.querySelector('pre')];
  const begun = performance.now();
  status.textContent = '…';
  shown.hidden = true;
  shown.textContent = '';
  try {
    const [address, options] = request(form);
    const response = await fetch(address, { ...options, signal: running.signal });
    status.textContent = `${response.status}, ${Math.round(performance.now() - begun)} ms`;
    const type = response.headers.get('Content-Type') ?? '';
    shown.hidden = false;
    if (/json/.test(type)) {
      const text = await response.text();
      shown.textContent = JSON.stringify(JSON.parse(text), null, 1).slice(0, MOST);
    } else if (/^text/.test(type)) {
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let { done, value } = await reader.read(); !done && shown.textContent.length < MOST; { done, value } = await reader.read()) shown.append(value);
      await reader.cancel();
    } else shown.textContent = `${(await response.blob()).size} B ${type}`;
  } catch (error) {
    if (error.name !== 'AbortError') status.textContent = error.message;
  }
}

for (const [name, secret] of Object.entries(secrets)) {
  const field = $(name);
  if (!field) continue;
  field.value = secret.value;
  field.parentElement.hidden = false;
  field.addEventListener('change', () => { secret.value = field.value.trim(); });
}
for (const form of document.forms) {
  form.hidden = false;
  const command = form.previousElementSibling;
  command.textContent = command.textContent.replace('$SERVER/', base);
}
addEventListener('submit', (event) => {
  event.preventDefault();
  send(event.target);
});
const theme = localStorage.getItem('sub3.theme');
if (theme) document.documentElement.style.colorScheme = theme;
