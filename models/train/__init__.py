"""Training in full precision and of codes, by recipes."""
