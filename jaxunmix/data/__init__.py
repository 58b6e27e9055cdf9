"""What comes in: labelled spectrum images, and files of them."""
