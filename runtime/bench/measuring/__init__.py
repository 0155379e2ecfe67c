"""Candidates in turn, round after round, each in a process of its own."""
