"""Marian checkpoints and the fp32 Transformer in torch."""
