// Word differences of two texts by their longest common subsequence.

const words = (text) => text.match(/\S+\s*/g) ?? [];

/**
 * The words of `other` and those of `reference` that it lacks, in order: [{text, kind}] with kind "same", "added" (only
 * in `other`) or "removed" (only in `reference`); neighbours of one kind are one entry.
 */
export function difference(reference, other) {
  const [a, b] = [words(reference), words(other)];
  const same = (i, j) => a[i].trimEnd() === b[j].trimEnd();
  // common[i][j]: the length of the longest common subsequence of a[i..] and b[j..]
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i][j] = same(i, j) ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const parts = [];
  const add = (kind, text) => (parts.at(-1)?.kind === kind ? (parts.at(-1).text += text) : parts.push({ kind, text }));
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(i, j)) {
      add('same', b[j++]);
      i += 1;
    } else if (j === b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) add('removed', a[i++]);
    else add('added', b[j++]);
  }
  return parts;
}

/** How many words of `other` are not in `reference` at their place, and how many words it has. */
export const changed = (parts) => {
  const count = (kinds) => parts.filter(({ kind }) => kinds.includes(kind)).reduce((sum, { text }) => sum + words(text).length, 0);
  return { words: count(['same', 'added']), added: count(['added']), removed: count(['removed']) };
};
