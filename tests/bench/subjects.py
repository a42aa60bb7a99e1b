"""What is compared: the same checkpoint in our engine, in CTranslate2 and in torch; onnx_peer.py has onnxruntime."""

from __future__ import annotations

import functools
import json
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from models.format.vocabulary import Pieces

Sources = Sequence[Sequence[str]]  # pieces of each sentence, eos not included


class Subject(Protocol):
    """A model that is ready to translate."""

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """Translate a batch; `length` forces (least, most) target tokens. Returns the target tokens, eos included."""
        ...


class Lazy:
    """A subject that is made when it first translates, so that a case that is not run costs nothing."""

    def __init__(self, make: Callable[[], Subject]) -> None:
        self._make = functools.cache(make)

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """See Subject."""
        return self._make().translate(sources, beam_size, length)


def coded(checkpoint: Path, path: Path, config: str) -> Path:
    """Write our model directory of the checkpoint in one configuration. Greedy codes: any codes are as fast."""
    if not path.exists():
        from models.codes.bit_config import find_config
        from models.marian.read import read_checkpoint
        from models.quantize.export import Request, export

        request = Request("bench", find_config(config), (), "specialised", 8, "greedy", None)
        export(read_checkpoint(checkpoint), [], request, path, notes="", overwrite=False)
    return path


def listed(directory: Path, path: Path, *, always: int, each: int) -> Path:
    """Write a copy of a model directory with a shortlist: the first rows, and random ones for each source piece."""
    if not path.exists():
        from models.format.directory import open_model
        from models.format.shortlist import shortlist_tensors
        from models.format.write import write_model

        model, choose = open_model(directory), random.Random(7)
        size = model.config.architecture.target_vocab_size
        rows = [choose.sample(range(size), each) for _ in range(model.config.architecture.source_vocab_size)]
        write_model(
            path,
            replace(model.config, shortlist=()),
            model.main.tensors,
            model.vocabulary,
            {name: (directory / name).read_bytes() for name in ("source.spm", "target.spm")},
            shortlist=shortlist_tensors(range(always), rows),
        )
    return path


def mapped(converted_: Path, model: Path, path: Path) -> Path:
    """Write a copy of CTranslate2's directory with a map of its vocabulary: the shortlist of our model directory."""
    if not path.exists():
        from models.format.directory import open_model

        opened = open_model(model, verify=False)
        assert opened.shortlist is not None
        always, offsets, rows = (tensor.data.cast("I") for tensor in opened.shortlist.tensors.values())
        target = opened.vocabulary.target_pieces
        lines = ["\t" + " ".join(map(target.piece, always))]
        for row, (piece, _) in enumerate(opened.vocabulary.source):
            own = rows[offsets[row] : offsets[row + 1]]
            lines.append(f"{piece}\t{' '.join(map(target.piece, own))}")
        shutil.copytree(converted_, path)
        (path / "vmap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def marian(model: Path, folder: Path) -> Path:
    """Write, in `folder`, the Marian directory of a model directory's dequantised codes, all their planes.

    `<pad>` is its last word, as in the published models and as CTranslate2's converter expects.
    """
    from models.format.directory import open_model
    from models.marian.marian import write_marian
    from models.marian.read import read_checkpoint
    from models.marian.rows import sort_rows

    config = open_model(model, verify=False).config
    path = folder / f"{config.name}-{config.checksums['model.safetensors'][:12]}"
    if not path.exists():
        checkpoint = read_checkpoint(model)
        rows = [int(row != config.ids.pad) for row in range(config.architecture.target_vocab_size)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_marian(sort_rows(checkpoint, rows, None)[0], path)
    return path


def converted(checkpoint: Path, path: Path, quantization: str) -> Path:
    """Convert the checkpoint to CTranslate2's directory.

    Its converter has every Marian decoder start from a zero embedding, which `<pad>` is in the published models. A
    checkpoint that transformers trained has learnt a row for `<pad>`, without which it translates something else.
    """
    if path.exists():
        return path
    from ctranslate2.converters import TransformersConverter
    from ctranslate2.converters.transformers import MarianMTLoader, register_loader

    class StartsFromPad(MarianMTLoader):
        def get_model_spec(self, model: Any) -> Any:
            spec = super().get_model_spec(model)
            bias = model.final_logits_bias.squeeze().clone()
            bias[-1] = -1e9  # <pad> is never generated
            spec.decoder.projection.bias = bias
            return spec

        def set_decoder(self, spec: Any, decoder: Any) -> None:
            super().set_decoder(spec, decoder)
            spec.start_from_zero_embedding = False

        def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
            super().set_config(config, model, tokenizer)
            config.decoder_start_token = "<pad>"

        def get_vocabulary(self, model: Any, tokenizer: Any) -> list[str]:
            return [*super().get_vocabulary(model, tokenizer), "<pad>"]

        def _remove_pad_weights(self, spec: Any) -> None:
            """Leave them."""

    register_loader("MarianConfig")(StartsFromPad)
    try:
        TransformersConverter(str(checkpoint)).convert(str(path), quantization=quantization)
    finally:
        register_loader("MarianConfig")(MarianMTLoader)  # the registry is the process's: other conversions are others
    return path


class _Rows(dict[str, int]):
    """Row of each piece met so far."""

    def __init__(self, pieces: Pieces, unknown: int) -> None:
        super().__init__()
        self._pieces, self._unknown = pieces, unknown

    def __missing__(self, piece: str) -> int:
        row = self._pieces.find(piece)
        self[piece] = self._unknown if row is None else row
        return self[piece]


class Ours:
    """The engine. Several threads split a batch between them, or one that works alone its loops, as in the service."""

    def __init__(
        self, directory: Path, config: str | None = None, threads: int = 1, *, shortlist: bool = False
    ) -> None:
        from kernels.engine import set_threads
        from models.format.directory import open_model

        self._set_threads = set_threads
        model = self.directory = open_model(directory, verify=False)
        self.engine = model.engine(None if config is None else model.allocation(config))
        self.rows = _Rows(model.vocabulary.source, model.config.ids.unk_source)
        self.eos, self.threads, self.shortlist = model.config.ids.eos, threads, shortlist

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """See Subject."""
        batch = [[*map(self.rows.__getitem__, source), self.eos] for source in sources]
        parts = min(self.threads, len(batch))
        counts = [0] * parts
        self._set_threads(self.threads)

        def run(part: int) -> None:
            mine = batch[part::parts]
            limits = [length[1] if length else 2 * len(ids) + 20 for ids in mine]
            result = self.engine.translate(
                mine,
                max_lengths=limits,
                min_length=length[0] if length else 0,
                beam_size=beam_size,
                shortlist=self.shortlist,
            )
            counts[part] = sum(len(best[0].ids) + (length is None) for best in result.hypotheses)

        if parts == 1:
            run(0)
        else:
            workers = [threading.Thread(target=run, args=(part,)) for part in range(parts)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        return sum(counts)


class CTranslate2:
    """The peer."""

    def __init__(self, directory: Path, compute_type: str, threads: int = 1) -> None:
        import ctranslate2

        self.shortlist = (directory / "vmap.txt").exists()
        self.translator = ctranslate2.Translator(
            str(directory), device="cpu", inter_threads=1, intra_threads=threads, compute_type=compute_type
        )

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """See Subject."""
        limits = {"min_decoding_length": length[0]} if length else {}
        most = length[1] if length else 2 * max(len(source) + 1 for source in sources) + 20
        results = self.translator.translate_batch(
            [[*source, "</s>"] for source in sources],
            beam_size=beam_size,
            max_decoding_length=most,
            use_vmap=self.shortlist,
            **limits,
        )
        return sum(len(result.hypotheses[0]) + (length is None) for result in results)


class Torch:
    """transformers in fp32."""

    def __init__(self, checkpoint: Path, threads: int = 1) -> None:
        import torch
        from transformers import MarianMTModel

        torch.set_num_threads(threads)
        self.model = MarianMTModel.from_pretrained(checkpoint).eval()
        self.vocabulary = json.loads((checkpoint / "vocab.json").read_text())

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """See Subject; one sentence, forced length."""
        import torch

        (source,) = sources
        assert length is not None
        ids = torch.tensor([[*(self.vocabulary[piece] for piece in source), 0]])
        with torch.inference_mode():
            out = self.model.generate(
                ids, num_beams=beam_size, do_sample=False, min_new_tokens=length[0], max_new_tokens=length[1]
            )
        return out.shape[1] - 1
