"""A figure for each sanity check, drawn from its rows."""
