"""What comes in: labelled spectrum images, files, preprocessing, matrices, simulations."""
