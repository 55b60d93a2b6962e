"""Explainers: from a sound and a decision to a mask on the sound's spectrogram."""
