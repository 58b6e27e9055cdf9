"""What goes out: scores, figures and one self-contained page."""
