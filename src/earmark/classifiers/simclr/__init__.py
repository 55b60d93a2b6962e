"""SimCLR: a network learns from unlabelled sounds, by telling two changes of one from all others."""
