"""The MCAP file: written, scanned, read."""
