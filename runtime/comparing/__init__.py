"""Two backends side by side: the first call, output and layer that differ."""
