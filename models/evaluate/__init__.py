"""Measure translations: BLEU, chrF, fault rates, significance."""
