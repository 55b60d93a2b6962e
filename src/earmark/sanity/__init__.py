"""Is this explanation true: checks that can fail, for any explainer of any classifier."""
