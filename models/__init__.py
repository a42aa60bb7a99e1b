__version__ = "0.1.0"  # of the whole distribution; pyproject.toml has the same
