"""The one error of every store: API keys, glossaries and the desired state of the models."""


class StoreUnavailable(Exception):
    """The store cannot be read or written, and nothing cached can stand in for it; the sentence says why."""
