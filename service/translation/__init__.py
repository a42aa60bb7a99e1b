"""Translate texts with one engine: tokenizer, in-flight batching, translator."""
