"""Offline translation of corpora, with the scheduler that serves requests."""
