"""onnxruntime as a peer: graphs of the encoder and of a decoder step with a KV cache, with weights of 8 or 4 bits.

The graphs are written node by node with onnxruntime's fused operators (MultiHeadAttention, SkipLayerNormalization), and
its products of quantised weights: DynamicQuantizeMatMul for 8 bits, MatMulNBits in groups of 32 with activations of 8
bits for 4. Greedy search; sentences of a batch have one length.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.transformer import positions
from tests.bench.subjects import Sources

_GROUP = 32
_FUSED = "com.microsoft"
_NEVER = -1e9


class _Graph:
    """Nodes and weights of a graph under construction. Each method adds nodes and returns the name of their output."""

    def __init__(self, checkpoint: Checkpoint, bits: int) -> None:
        self.tensors, self.architecture, self.bits = checkpoint.tensors, checkpoint.architecture, bits
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def stored(self, name: str) -> str:
        return self.constant(name, self.tensors[name].numpy())

    def node(self, kind: str, inputs: list[str], outputs: list[str], *, fused: bool = False, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=_FUSED if fused else "", **attributes))
        return outputs[0]

    def linear(self, x: str, matrix: str, bias: str, output: str) -> str:
        weights = self.tensors[matrix].numpy().astype(np.float32)
        rows, columns = weights.shape
        if self.bits == 8:
            # 7 bits: without VNNI onnxruntime adds pairs of u8 x s8 products in 16 bits, which saturate
            scale = np.maximum(np.abs(weights).max(1) / 63, 1e-12)
            quantised = self.constant(f"{matrix}.q", np.rint(weights / scale[:, None]).astype(np.int8).T)
            inputs = [x, quantised, self.constant(f"{matrix}.scale", scale), "", bias]
            return self.node("DynamicQuantizeMatMul", inputs, [output], fused=True)
        groups = -(-columns // _GROUP)
        padded = np.zeros((rows, groups * _GROUP), np.float32)
        padded[:, :columns] = weights
        padded = padded.reshape(rows, groups, _GROUP)
        scale = np.maximum(np.abs(padded).max(2) / 7, 1e-12)
        codes = (np.clip(np.rint(padded / scale[:, :, None]), -8, 7) + 8).astype(np.uint8)
        quantised = self.constant(f"{matrix}.q", codes[:, :, 0::2] | codes[:, :, 1::2] << 4)
        inputs = [x, quantised, self.constant(f"{matrix}.scale", scale.reshape(-1))]
        product = f"{output}.product"
        sizes = {"K": columns, "N": rows, "bits": 4, "block_size": _GROUP, "accuracy_level": 4}
        self.node("MatMulNBits", inputs, [product], fused=True, **sizes)
        return self.node("Add", [product, bias], [output])

    def projected(self, x: str, name: str, part: str) -> str:
        return self.linear(x, f"{name}.{part}", self.stored(f"{name}.{part}.bias"), f"{name}.{part}.out")

    def attend(self, name: str, heads: int, inputs: list[str], outputs: list[str]) -> str:
        context = self.node("MultiHeadAttention", inputs, [f"{name}.context", *outputs], fused=True, num_heads=heads)
        return self.projected(context, name, "output")

    def residual(self, x: str, change: str, name: str) -> str:
        inputs = [x, change, self.stored(f"{name}.norm.gain"), self.stored(f"{name}.norm.bias")]
        epsilon = self.architecture.norm_epsilon
        return self.node("SkipLayerNormalization", inputs, [f"{name}.normed"], fused=True, epsilon=epsilon)

    def feed_forward(self, x: str, name: str) -> str:
        inner = self.node("Relu", [self.projected(x, name, "inner")], [f"{name}.active"])
        return self.residual(x, self.projected(inner, name, "outer"), name)

    def embed(self, ids: str, place: str) -> str:
        found = self.node("Gather", [self.stored("embedding"), ids], ["found"])
        factor = math.sqrt(self.architecture.d_model) if self.architecture.scale_embedding else 1.0
        scaled = self.node("Mul", [found, self.constant("factor", np.float32(factor))], ["scaled"])
        return self.node("Add", [scaled, place], ["embedded"])

    def session(self, inputs: dict[str, int], outputs: list[str], threads: int) -> onnxruntime.InferenceSession:
        """Return the session; `inputs` have so many dimensions, ids are whole numbers."""
        given = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, [None] * rank
            )
            for name, rank in inputs.items()
        ]
        kinds = {"next": TensorProto.INT64}
        made = [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs]
        graph = helper.make_graph(self.nodes, "peer", given, made, list(self.weights.values()))
        domains = [helper.make_opsetid("", 17), helper.make_opsetid(_FUSED, 1)]
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Onnx:
    """A checkpoint in onnxruntime."""

    def __init__(self, checkpoint: Path, bits: int, threads: int = 1) -> None:
        read = read_checkpoint(checkpoint)
        self.architecture, self.ids = read.architecture, read.ids
        assert self.architecture.norm == "post"
        assert self.architecture.shared_vocabulary
        assert self.architecture.activation == "relu"
        self.rows = {piece: row for row, piece in enumerate(read.source_pieces)}
        self.table = positions(512, self.architecture.d_model).numpy()
        self.encoder = self._encoder(_Graph(read, bits), threads)
        self.bias = np.zeros(self.architecture.target_vocab_size, np.float32)
        if (bias := read.tensors.get("output.bias")) is not None:
            self.bias += bias.numpy()
        self.bias[list(read.ids.suppressed)] = _NEVER
        self.decoder = self._decoder(_Graph(read, bits), threads)

    def _encoder(self, graph: _Graph, threads: int) -> onnxruntime.InferenceSession:
        x, of = graph.embed("ids", "place"), self.architecture
        for layer in range(of.encoder_layers):
            name = f"encoder.{layer}.self_attention"
            inputs = [graph.projected(x, name, part) for part in ("query", "key", "value")]
            x = graph.residual(x, graph.attend(name, of.encoder_heads, inputs, []), name)
            x = graph.feed_forward(x, f"encoder.{layer}.ffn")
        heads, width = of.decoder_heads, of.d_model // of.decoder_heads
        shape = graph.constant("shape", np.array([0, 0, heads, width]))
        outputs = []
        for layer in range(of.decoder_layers):
            for part in ("key", "value"):
                flat = graph.projected(x, f"decoder.{layer}.encoder_attention", part)
                split = graph.node("Reshape", [flat, shape], [f"split.{layer}.{part}"])
                outputs.append(graph.node("Transpose", [split], [f"cross.{layer}.{part}"], perm=[0, 2, 1, 3]))
        return graph.session({"ids": 2, "place": 2}, outputs, threads)

    def _decoder(self, graph: _Graph, threads: int) -> onnxruntime.InferenceSession:
        x, of = graph.embed("ids", "place"), self.architecture
        inputs, outputs = {"ids": 2, "place": 2}, ["next"]
        for layer in range(of.decoder_layers):
            name = f"decoder.{layer}.self_attention"
            own = [graph.projected(x, name, part) for part in ("query", "key", "value")]
            past, present = ([f"{when}.{layer}.{part}" for part in ("key", "value")] for when in ("past", "present"))
            attended = graph.attend(name, of.decoder_heads, [*own, "", "", "", *past], present)
            x = graph.residual(x, attended, name)
            name = f"decoder.{layer}.encoder_attention"
            cross = [f"cross.{layer}.{part}" for part in ("key", "value")]
            attended = graph.attend(name, of.decoder_heads, [graph.projected(x, name, "query"), *cross], [])
            x = graph.residual(x, attended, name)
            x = graph.feed_forward(x, f"decoder.{layer}.ffn")
            inputs |= dict.fromkeys([*past, *cross], 4)
            outputs += present
        logits = graph.linear(x, "embedding", graph.constant("output.bias", self.bias), "logits")
        graph.node("Add", [logits, "mask"], ["masked"])
        graph.node("ArgMax", ["masked"], ["next"], axis=2, keepdims=0)
        return graph.session(inputs | {"mask": 1}, outputs, threads)

    def translate(self, sources: Sources, beam_size: int, length: tuple[int, int] | None) -> int:
        """See Subject; greedy, sources of one length."""
        assert beam_size == 1
        assert len({len(source) for source in sources}) == 1
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        unknown, eos, of = self.ids.unk_source, self.ids.eos, self.architecture
        ids = np.array([[*(self.rows.get(piece, unknown) for piece in source), eos] for source in sources])
        names = [f"cross.{layer}.{part}" for layer in range(of.decoder_layers) for part in ("key", "value")]
        given = {"ids": value(ids), "place": value(self.table[: ids.shape[1]])}
        cache = dict(zip(names, self.encoder.run_with_ort_values(names, given), strict=True))
        heads = of.decoder_heads
        empty = np.zeros((len(sources), heads, 0, of.d_model // heads), np.float32)
        past = [name.replace("cross", "past") for name in names]
        cache |= dict.fromkeys(past, value(empty))
        outputs = ["next", *(name.replace("cross", "present") for name in names)]
        least, most = length or (0, 2 * ids.shape[1] + 20)
        open_, never = np.zeros(of.target_vocab_size, np.float32), np.zeros(of.target_vocab_size, np.float32)
        never[eos] = _NEVER
        token, tokens = np.full((len(sources), 1), self.ids.decoder_start), 0
        for step in range(most):
            mask = value(never if step < least else open_)
            given = {"ids": value(token), "place": value(self.table[step : step + 1]), "mask": mask}
            found = self.decoder.run_with_ort_values(outputs, given | cache)
            cache |= dict(zip(past, found[1:], strict=True))
            token = found[0].numpy()
            tokens += len(sources)
            if length is None and token[0, 0] == eos:
                break
        return tokens
