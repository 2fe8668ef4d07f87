"""The release payload: one image that lists every operator image and the OS by digest.

source -> component -> rewrite/versions -> release layer -> new
read -> info, diff, extract, mirror, lint, graph, sign and verify
"""
