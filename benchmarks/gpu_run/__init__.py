"""`make gpu`: what a machine with an NVIDIA GPU can tell of this project, in a few minutes."""
