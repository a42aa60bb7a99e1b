"""Text in, text out: sentences, protected spans, alignment, inline tags, markup, glossaries, languages."""
