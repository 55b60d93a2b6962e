"""LMAC-TD: explanations in the time domain, by a separator that reads the classifier's representations."""
