"""Vendors' formats, which RosettaSciIO reads."""
