"""The lowest layer: what any folder may use."""
