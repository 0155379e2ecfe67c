"""Frames to latents and back, for as long as a camera runs."""
