"""One measurement per claim: ``python -m benchmarks NAME``."""
