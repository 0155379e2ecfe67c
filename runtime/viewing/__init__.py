"""What is captured, encoded and decoded, to look at in the Rerun viewer (extra `view`)."""
