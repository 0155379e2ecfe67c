"""What `record` and `replay` do: sources, encoder and sinks, joined."""
