"""INT8 calibration: empty so far, see CHANGELOG.md for what is missing."""
