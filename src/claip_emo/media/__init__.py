"""A file becomes a Clip."""
