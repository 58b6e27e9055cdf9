"""What is uncertain: sampling of posteriors, and evidences one can trust."""
