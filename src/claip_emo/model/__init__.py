"""A Clip becomes logits."""
