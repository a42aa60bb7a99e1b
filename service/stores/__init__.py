"""Storage backends, one file each: SQLite and Redis."""
