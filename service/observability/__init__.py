"""Metrics, traces, logs and the per-request context that they share."""
