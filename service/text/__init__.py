"""Text in, text out: sentences, protected spans, word alignment, inline tags, markup, glossaries, languages."""
