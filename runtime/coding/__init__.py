"""Tokens as bytes: packed at their width, or in fewer, each latent from those before it."""
