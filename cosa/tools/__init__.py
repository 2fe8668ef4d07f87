"""One thin adapter per native library or program."""
