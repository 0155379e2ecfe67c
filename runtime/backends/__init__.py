"""What runs step graphs, and the one place that chooses."""
