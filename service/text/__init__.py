"""Text in, text out: sentences, kept units, word alignment, inline tags, markup, glossaries, languages."""
