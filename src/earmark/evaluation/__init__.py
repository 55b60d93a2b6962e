"""Score explainers on sounds whose parts are known."""
