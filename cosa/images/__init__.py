"""From a commit to a raw disk, and from that to every format."""
