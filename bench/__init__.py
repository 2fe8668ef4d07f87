"""Figures, side by side with a peer in one run: `bin/bench` prints a table and JSON."""
