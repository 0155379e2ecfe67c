"""Readers of recordings and of every format that `export-recording` writes."""
