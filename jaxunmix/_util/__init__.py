"""The lowest layer: files, random numbers and statistics."""
