"""What a robot recorded beside, into a recording of cameras."""
