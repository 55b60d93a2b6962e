"""What every trainer shares: the loop and the recipes."""
