"""Who a request belongs to: API keys, quotas and the glossaries of a key."""
