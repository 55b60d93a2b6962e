"""Sounds to learn from and to measure on: data sets, noises, and mixtures of both."""
