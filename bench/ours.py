"""Our side: `cosa build` of the stand-in OS, from packages that are on disk already."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Cost, measure
from cosa.core import fs

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ours:
    """cosa in a working directory of its own, with the shared download cache."""

    folder: Path

    @property
    def workdir(self) -> Path:
        """The working directory that is thrown away for every cold build."""
        return self.folder / "work"

    @classmethod
    def prepare(cls, folder: Path) -> Ours:
        """Make sure the stand-in repository is there."""
        ours = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        ours._fresh()
        ours._cosa("fetch.log", "fetch")
        return ours

    def cold(self) -> Cost:
        """A first build in a new working directory."""
        self._fresh()
        return self._cosa("cold.log", "build")

    def nothing_changed(self) -> Cost:
        """The same build again."""
        return self._cosa("noop.log", "build")

    def steps(self) -> dict[str, float]:
        """Seconds of each step of the cold build."""
        seconds: dict[str, float] = {}
        for line in (self.folder / "cold.log").read_text().splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if event["kind"] == "end":
                    seconds[event["name"]] = seconds.get(event["name"], 0.0) + event["seconds"]
        return seconds

    def sizes(self) -> dict[str, int]:
        """Bytes that each artefact of the build takes up on disk."""
        meta = json.loads(next(self.workdir.glob("builds/latest/*/meta.json")).read_text())
        folder = self.workdir / "builds/latest" / meta["coreos-assembler.basearch"]
        return {
            name: (folder / image["path"]).stat().st_blocks * 512
            for name, image in meta["images"].items()
        }

    def _fresh(self) -> None:
        fs.remove_tree(self.workdir)
        self.workdir.mkdir()
        self._cosa("init.log", "init", str(ROOT / "manifests/standin"))

    def _cosa(self, log: str, *words: str) -> Cost:
        argv = [sys.executable, "-m", "cosa.cli.main", "--workdir", str(self.workdir)]
        # The plain environment lacks what cosa itself is configured by.
        env = {"PYTHONPATH": str(ROOT), **_cosa_env()}
        return measure([*argv, "--log-format", "json", *words], self.folder / log, env=env)


def _cosa_env() -> dict[str, str]:
    import os

    return {key: value for key, value in os.environ.items() if key.startswith("COSA_")}
