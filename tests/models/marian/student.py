"""A random student as Marian has them, with SSRUs: its files, and a forward pass in NumPy by Marian's names.

    python -m tests.models.marian.student DIRECTORY      the files of golden/student, and what pymarian translates

The second needs pymarian (1.12.42 made the golden file), which no test does.
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from tests.models.conftest import sentences

Arrays = Mapping[str, npt.NDArray[np.float32]]
WIDTH, HEADS, FFN, ENCODER, DECODER = 32, 4, 48, 3, 2
OPTIONS = {
    "type": "transformer",
    "version": "v1.12.0",
    "dim-emb": WIDTH,
    "enc-depth": ENCODER,
    "dec-depth": DECODER,
    "transformer-heads": HEADS,
    "transformer-dim-ffn": FFN,
    "transformer-decoder-dim-ffn": FFN,
    "transformer-ffn-depth": 2,
    "transformer-decoder-ffn-depth": 0,
    "transformer-ffn-activation": "relu",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "dec-cell-base-depth": 2,
    "dec-cell-high-depth": 1,
    "enc-cell": "gru",
    "enc-cell-depth": 1,
    "enc-type": "bidirectional",
    "skip": "false",
    "layer-normalization": "false",
    "right-left": "false",
    "input-types": "[]",
    "ulr": "false",
    "ulr-dim-emb": 0,
    "ulr-trainable-transformation": "false",
    "tied-embeddings": "false",
    "tied-embeddings-src": "false",
    "tied-embeddings-all": "true",
    "transformer-aan-activation": "swish",
    "transformer-aan-depth": 2,
    "transformer-aan-nogate": "false",
    "transformer-dim-aan": 2048,
    "transformer-depth-scaling": "false",
    "transformer-guided-alignment-layer": "last",
    "transformer-no-projection": "false",
    "transformer-pool": "false",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": '""',
    "transformer-preprocess": '""',
    "transformer-tied-layers": "[]",
    "transformer-train-position-embeddings": "false",
    "bert-train-type-embeddings": "true",
    "bert-type-vocab-size": 2,
    "lemma-dim-emb": 0,
    "factors-combine": "sum",
    "factors-dim-emb": 0,
}
EOS, UNK, SEED = 0, 1, 14
LEXICON = "lex.50.50.ende.s2t.bin"


def vocabulary() -> bytes:
    """Train a SentencePiece model of 60 pieces that is numbered as Marian numbers them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(500)),
        model_writer=model,
        vocab_size=60,
        bos_id=-1,
        eos_id=EOS,
        unk_id=UNK,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return model.getvalue()


def student(size: int, seed: int, *, tied: bool) -> dict[str, npt.NDArray[np.float32]]:
    """Return random tensors of a student with `size` pieces, by Marian's names.

    Tied to its embedding the output layer of a random model nearly always repeats what was read.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[np.float32]] = {}

    def random(name: str, *shape: int, scale: float = 0.12) -> None:
        found[name] = (scale * generator.standard_normal(shape)).astype(np.float32)

    def bias(name: str, columns: int) -> None:
        random(name, 1, columns, scale=0.1)

    def norm(name: str) -> None:
        bias(f"{name}_ln_scale", WIDTH)
        found[f"{name}_ln_scale"] += 1
        bias(f"{name}_ln_bias", WIDTH)

    if tied:
        random("Wemb", size, WIDTH, scale=0.2)
    else:
        random("encoder_Wemb", size, WIDTH, scale=0.2)
        random("decoder_Wemb", size, WIDTH, scale=0.2)
        random("decoder_ff_logit_out_W", WIDTH, size, scale=0.4)
    bias("decoder_ff_logit_out_b", size)
    found["decoder_ff_logit_out_b"][0, EOS] += 1.5  # some translations end by themselves
    for side, depth in (("encoder", ENCODER), ("decoder", DECODER)):
        for n in range(1, depth + 1):
            layer = f"{side}_l{n}"
            if side == "decoder":
                random(f"{layer}_rnn_W", WIDTH, WIDTH)
                random(f"{layer}_rnn_Wf", WIDTH, WIDTH)
                bias(f"{layer}_rnn_bf", WIDTH)
                norm(f"{layer}_rnn_ffn")
            part = "self" if side == "encoder" else "context"
            for letter in "qkvo":
                random(f"{layer}_{part}_W{letter}", WIDTH, WIDTH)
                bias(f"{layer}_{part}_b{letter}", WIDTH)
            norm(f"{layer}_{part}_Wo")
            for letter, shape in (("1", (WIDTH, FFN)), ("2", (FFN, WIDTH))):
                random(f"{layer}_ffn_W{letter}", *shape)
                bias(f"{layer}_ffn_b{letter}", shape[1])
            norm(f"{layer}_ffn_ffn")
    return found


def options(**changes: str) -> bytes:
    """Return the options of the training as the files have them."""
    sizes = "dim-vocabs:\n  - 60\n  - 60\n"
    return ("".join(f"{name}: {value}\n" for name, value in {**OPTIONS, **changes}.items()) + sizes).encode() + b"\0"


def write_npz(path: Path, tensors: Arrays, spm: bytes, **changes: str) -> None:
    """Write the directory of a training."""
    path.mkdir()
    changes = {"tied-embeddings-all": str("Wemb" in tensors).lower(), **changes}
    np.savez(path / "model.npz", **{"special:model.yml": np.frombuffer(options(**changes), np.int8)}, **tensors)
    (path / "vocab.spm").write_bytes(spm)
    names = "models:\n  - /far/away/model.npz\nvocabs:\n  - /far/away/vocab.spm\n  - /far/away/vocab.spm\n"
    (path / "model.npz.decoder.yml").write_text(f"{names}beam-size: 2\nnormalize: 0.6\n")


def rounded(tensors: Arrays) -> dict[str, npt.NDArray[np.float32]]:
    """Return what matrices of eight bits stand for: integers over a multiplier, as intgemm makes it."""
    result = dict(tensors)
    for name, multiplier in multipliers(tensors).items():
        result[name] = (np.rint(tensors[name] * multiplier) / multiplier).astype(np.float32)
    return result


def multipliers(tensors: Arrays) -> dict[str, np.float32]:
    """Return the multiplier of each matrix."""
    return {
        name: np.float32(127 / np.abs(tensor).max())
        for name, tensor in tensors.items()
        if name == "Wemb" or ("_W" in name and not name.endswith(("_scale", "_bias")))
    }


def bergamot_bytes(tensors: Arrays) -> bytes:
    """Return model.XXYY.intgemm.alphas.bin of a student."""
    items = [("special:model.yml", 0x0101, (len(options()),), options())]
    factors = multipliers(tensors)
    for name, tensor in tensors.items():
        if name not in factors:
            items.append((name, 0x0404, tensor.shape, tensor.tobytes()))
            continue
        whole = np.rint(tensor * factors[name]).astype(np.int8)
        data = (whole if name.endswith("Wemb") else whole.T).tobytes() + factors[name].tobytes()
        items.append((name, 0x4101, tensor.shape, data + bytes(-len(data) % 256)))
        items.append((f"{name}_QuantMultA", 0x0404, (1, 1), np.float32(30).tobytes()))
    names = [name.encode() + b"\0" for name, _, _, _ in items]
    head = struct.pack("<QQ", 1, len(items))
    for name, (_, kind, shape, data) in zip(names, items, strict=True):
        head += struct.pack("<4Q", len(name), kind, len(shape), len(data))
    head += b"".join(names) + b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in items)
    gap = -(len(head) + 8) % 256
    return head + struct.pack("<Q", gap) + bytes(gap) + b"".join(data for _, _, _, data in items)


def lexicon_bytes(frequent: int, rows: Sequence[Sequence[int]]) -> bytes:
    """Return lex.*.s2t.bin: the pieces that all may choose, by their number, and those of each source piece."""
    offsets = [0, *accumulate(map(len, rows))]
    body = struct.pack(f"<4Q{len(offsets)}Q", frequent, max(map(len, rows)), len(offsets), offsets[-1], *offsets)
    body += b"".join(struct.pack(f"<{len(each)}I", *each) for each in rows)
    checksum = 0
    for begin in range(0, len(body) - 7, 8):
        word = int.from_bytes(body[begin : begin + 8], "little")
        checksum ^= (word + 0x9E3779B9 + (checksum << 6) + (checksum >> 2)) % 2**64
    return struct.pack("<2Q", 0xF11A48D5013417F5, checksum) + body


def lexicon(size: int) -> tuple[int, list[list[int]]]:
    """Return a random shortlist of a vocabulary of so many pieces, short enough to change many translations."""
    draw = random.Random(SEED)
    return 8, [sorted(draw.sample(range(size), draw.randint(1, 4))) for _ in range(size)]


class Reference:
    """The forward pass of a student in double precision."""

    def __init__(self, tensors: Arrays) -> None:
        self._t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def greedy(self, source: list[int], most: int, candidates: Collection[int] = ()) -> list[int]:
        """Translate ids that end with eos, into some of the pieces or all; the result has none."""
        never = [
            row for row in range(len(self._t["decoder_ff_logit_out_b"][0])) if candidates and row not in candidates
        ]
        memory = self.encoded(source)
        states = self.beginning()
        found: list[int] = []
        while len(found) < most:
            logits = self.step(memory, states, found[-1] if found else None, len(found))
            logits[[UNK, *never]] = -np.inf
            best = int(logits.argmax())
            if best == EOS:
                break
            found.append(best)
        return found

    def beginning(self) -> list[npt.NDArray[np.float64]]:
        """Return the states of the SSRUs at first."""
        return [np.zeros(WIDTH) for _ in range(DECODER)]

    def encoded(self, source: list[int]) -> npt.NDArray[np.float64]:
        """Return the states of the encoder."""
        x = np.stack([self._embedded("encoder", id_, place) for place, id_ in enumerate(source)])
        for n in range(1, ENCODER + 1):
            x = self._normed(x + self._attended(f"encoder_l{n}_self", x, x), f"encoder_l{n}_self_Wo")
            x = self._normed(x + self._fed(f"encoder_l{n}_ffn", x), f"encoder_l{n}_ffn_ffn")
        return x

    def step(
        self, memory: npt.NDArray[np.float64], states: list[npt.NDArray[np.float64]], last: int | None, place: int
    ) -> npt.NDArray[np.float64]:
        """Return the logits behind one more token, and change the states of the SSRUs."""
        t, x = self._t, self._embedded("decoder", last, place)
        for n in range(1, DECODER + 1):
            layer = f"decoder_l{n}"
            f = 1 / (1 + np.exp(-(x @ t[f"{layer}_rnn_Wf"] + t[f"{layer}_rnn_bf"][0])))
            states[n - 1] = f * states[n - 1] + (1 - f) * (x @ t[f"{layer}_rnn_W"])
            x = self._normed(x + np.maximum(states[n - 1], 0), f"{layer}_rnn_ffn")
            x = self._normed(x + self._attended(f"{layer}_context", x[None], memory)[0], f"{layer}_context_Wo")
            x = self._normed(x + self._fed(f"{layer}_ffn", x), f"{layer}_ffn_ffn")
        output = t["Wemb"].T if "Wemb" in t else t["decoder_ff_logit_out_W"]
        return x @ output + t["decoder_ff_logit_out_b"][0]

    def _embedded(self, side: str, id_: int | None, place: int) -> npt.NDArray[np.float64]:
        table = self._t.get("Wemb", self._t.get(f"{side}_Wemb"))
        angles = place * 10000.0 ** (-np.arange(WIDTH // 2) / (WIDTH // 2 - 1))
        word = np.zeros(WIDTH) if id_ is None else table[id_] * np.sqrt(WIDTH)
        return word + np.concatenate([np.sin(angles), np.cos(angles)])

    def _normed(self, x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-9)
        return normal * self._t[f"{name}_ln_scale"][0] + self._t[f"{name}_ln_bias"][0]

    def _attended(self, name: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        def linear(z: npt.NDArray[np.float64], letter: str) -> npt.NDArray[np.float64]:
            return z @ self._t[f"{name}_W{letter}"] + self._t[f"{name}_b{letter}"][0]

        q, k, v = (linear(z, letter).reshape(len(z), HEADS, -1) for z, letter in ((x, "q"), (y, "k"), (y, "v")))
        scores = np.exp(np.einsum("ihd,jhd->hij", q, k) / np.sqrt(WIDTH / HEADS))
        weights = scores / scores.sum(-1, keepdims=True)
        return linear(np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), WIDTH), "o")

    def _fed(self, name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        inner = np.maximum(x @ self._t[f"{name}_W1"] + self._t[f"{name}_b1"][0], 0)
        return inner @ self._t[f"{name}_W2"] + self._t[f"{name}_b2"][0]


def main(path: Path) -> None:
    """Write a student, and what Marian itself translates with it."""
    from pymarian import Translator  # type: ignore[import-not-found] # 600 MB

    spm = vocabulary()
    tensors = student(60, SEED, tied=False)
    # Marian's shortlists want the output layer so.
    tensors["decoder_ff_logit_out_Wt"] = np.ascontiguousarray(tensors.pop("decoder_ff_logit_out_W").T)
    write_npz(path, tensors, spm)
    (path / LEXICON).write_bytes(lexicon_bytes(*lexicon(60)))
    vocab = str(path / "vocab.spm")
    texts = sentences(40, 11)
    for name, options in (("translations", {}), ("shortlisted", {"shortlist": [str(path / LEXICON), "1"]})):
        translate: Callable[[list[str]], list[str]] = Translator(
            models=str(path / "model.npz"),
            vocabs=[vocab, vocab],
            beam_size=1,
            max_length_factor=2,
            cpu_threads=1,
            mini_batch=1,
            quiet=True,
            **options,
        ).translate
        found = dict(zip(texts, translate(texts), strict=True))
        (path / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
