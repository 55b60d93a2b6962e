"""From waveform to what a network eats: STFT and its exact inverse, mel filterbanks, masks applied."""
