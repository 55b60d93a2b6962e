"""What an evaluation found, drawn for people."""
