"""OCI images made from a commit."""
