"""Read lines of text and encode them as pieces."""
