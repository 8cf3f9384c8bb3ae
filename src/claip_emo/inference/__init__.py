"""A path becomes emotions; knows nothing of training."""
