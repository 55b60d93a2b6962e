"""Listen to interpret: sounds as a sum of a dictionary's spectra, each with its say in the decision."""
