"""A device proves itself: a golden stream through the backend that will run, without PyTorch."""
