"""The evidence of each number of peaks, from the particles of tempered runs."""
