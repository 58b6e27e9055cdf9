"""Text files of spectra."""
