"""A web page on which anyone can drop a sound and hear what the classifier heard in it."""
