"""Archives: what was heard in every window of thousands of recordings, as one table."""
