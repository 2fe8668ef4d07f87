"""Digests of parts of a tree: what a kept result was made from."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cosa.compose.tree import Tree
from cosa.core import fs


class Digests:
    """Digests of a tree's files: of untouched cached objects without reading them.

    `instead` maps paths of the tree to files that are shown in their place.
    """

    def __init__(self, tree: Tree, instead: Mapping[str, Path] | None = None) -> None:
        self._tree = tree
        self._instead = instead or {}

    def of(self, rel: str) -> str:
        """One value for type, mode, owner and content; empty when the path is absent."""
        place = self._instead.get(rel) or self._tree.path(rel)
        try:
            info = place.lstat()
        except OSError:
            return ""
        if info.st_ino in self._tree.objects and stat.S_ISREG(info.st_mode):
            return self._tree.objects[info.st_ino]
        head = f"{info.st_mode:o}:{info.st_uid}:{info.st_gid}:"
        if stat.S_ISLNK(info.st_mode):
            return head + os.readlink(place)
        return head + (fs.sha256_file(place) if stat.S_ISREG(info.st_mode) else "")

    def below(self, rel: str) -> str:
        """One value for everything below a path, itself included."""
        digest = hashlib.sha256(f"{rel}\0{self.of(rel)}\0".encode())
        place = self._tree.path(rel)
        if place.is_dir() and not place.is_symlink():
            for name, _ in self._tree.walk(rel):
                digest.update(f"{name}\0{self.of(name)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
