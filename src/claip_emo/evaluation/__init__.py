"""A model and a corpus become numbers and a page."""
