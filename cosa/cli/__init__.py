"""One module per verb family: parse, call, print."""
