"""Clips and token files: read, fitted, written, compared."""
