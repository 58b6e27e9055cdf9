"""The lowest layer: files and statistics."""
