"""Labelled clips become batches."""
