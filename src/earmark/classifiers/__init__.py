"""Classifiers: what every explainer may ask of a network, and the networks that come with earmark."""
