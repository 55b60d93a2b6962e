"""PIQ: a mask told in the codes of the class that it explains."""
