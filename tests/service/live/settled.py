"""Resident memory that nothing of earlier tests will take away again."""

import gc

from service.process import process_rss_bytes, trim_heap


def settled_rss_bytes() -> int:
    """Free what earlier tests have left, then read the resident memory of this process."""
    gc.collect()
    trim_heap()
    return process_rss_bytes()
