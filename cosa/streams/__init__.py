"""Streams: the documents that publish releases, and the update graph made of them."""
