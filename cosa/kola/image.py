"""What tests may know of the build whose image they boot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Build:
    """A build's folder (`builds/ID/ARCH`)."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Its meta.json."""
        content: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        return content

    @cached_property
    def lockfile(self) -> dict[str, Any]:
        """Its generated lockfile."""
        path = self.folder / f"manifest-lock.generated.{self.folder.name}.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content
