"""Training in full precision and of codes."""
