"""Live models and configurations, and how an administrator changes them."""
