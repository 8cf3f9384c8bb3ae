"""One corpus, one file: what is labelled, and how it is split."""
