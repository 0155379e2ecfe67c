"""Whether a bundle computes what the reference computes, and what precisions cost."""
