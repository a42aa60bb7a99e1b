"""Which models and configurations serve, and how an administrator changes that."""
