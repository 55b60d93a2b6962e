"""Listening studies: which explanation people prefer, as section 3.3 of the paper asks them."""
