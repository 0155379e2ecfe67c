"""What an export will cost, before anything is built."""
