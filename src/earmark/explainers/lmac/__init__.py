"""L-MAC, listenable maps for audio classifiers (Paissan et al., ICML 2024)."""
