"""The commands: each parses, calls one function of the other rooms, and prints."""
