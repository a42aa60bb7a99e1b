// The server's API: JSON calls, server-sent events, the models; the key and the token, kept by this tab only.
import { t } from './texts.js';

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** A word that this tab remembers: the API key, or the token. */
class Secret {
  constructor(name) { this.name = `sub3.${name}`; }
  get value() { return sessionStorage.getItem(this.name) ?? ''; }
  set value(word) { word ? sessionStorage.setItem(this.name, word) : sessionStorage.removeItem(this.name); }
}
export const key = new Secret('key');
export const token = new Secret('token');

/** The response to a call.
 * @throws {Refused} its status says no */
export async function fetched(path, { method = 'GET', body, signal, headers = {} } = {}) {
  const all = { ...headers };
  const plain = body === undefined || body instanceof FormData;
  if (!plain) all['Content-Type'] = 'application/json';
  if (path.startsWith('admin/')) all.Authorization = `Bearer ${token.value}`;
  else if (key.value) all['X-Api-Key'] = key.value;
  const response = await fetch(path, { method, signal, headers: all, body: plain ? body : JSON.stringify(body) }).catch((error) => {
    throw error.name === 'AbortError' ? error : new Refused(0, t('The server does not answer; is it running?'));
  });
  if (response.ok) return response;
  const reply = await response.json().catch(() => ({}));
  throw new Refused(response.status, reply.error ?? t('The server answered with the status {status}.', { status: response.status }));
}

/** A call whose answer is JSON. */
export const ask = async (path, options) => (await fetched(path, options)).json();

/** A call whose answer is text. */
export const read = async (path, options) => (await fetched(path, options)).text();

/** The server-sent events of a call as {event, id, data}, in order, as they come. */
export async function* events(path, options) {
  const reader = (await fetched(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
        if (fields.data) yield { event: fields.event, id: fields.id, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** What is known of the models and of the pairs of languages that are served; asked for again by `refresh`. */
export let models = [];
let pairs = [];
export async function refresh() {
  ({ models, pairs } = await ask('v1/models'));
}

/** How a pair of languages is served: {source, target, via, models}; with the source "auto" the first that has the target. */
export const wayOf = (source, target) => pairs.find((pair) => pair.target === target && (source === 'auto' || pair.source === source));

export const everyPair = () => pairs;

/** The models that translate a pair, one after the other, and what may be pinned: what each of them has. */
export function answering(source, target) {
  const chain = (wayOf(source, target)?.models ?? []).map((name) => models.find((model) => model.name === name));
  const everywhere = (known) => (chain.length ? known(chain[0]).filter((name) => chain.every((model) => known(model).includes(name))) : []);
  return {
    chain,
    live: everywhere((model) => model.live),
    available: everywhere((model) => model.configurations.filter((configuration) => configuration.available).map(({ name }) => name)),
  };
}

export const sources = () => [...new Set(pairs.map((pair) => pair.source))];
export const targets = (source) => [...new Set(pairs.filter((pair) => source === 'auto' || (pair.source === source && pair.target !== source)).map((pair) => pair.target))];

/** A figure of a configuration's quality: of one test set, or the mean over all; undefined where none was measured. */
export function quality(configuration, figure, set = '') {
  const values = Object.entries(configuration.quality).filter(([name]) => !set || name === set)
    .map(([, figures]) => figures[figure]).filter((value) => value !== undefined);
  return values.length ? values.reduce((sum, value) => sum + value) / values.length : undefined;
}
