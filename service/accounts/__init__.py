"""Accounts: API keys, quotas and the glossaries of a key."""
