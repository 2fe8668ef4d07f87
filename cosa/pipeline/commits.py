"""Commits that need not be composed again: of the build before, or of a run that was killed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from cosa.compose.native import Commit
from cosa.core import clock, events
from cosa.core.store import Json, Store
from cosa.pipeline.previous import Previous
from cosa.pipeline.workdir import Workdir
from cosa.tools import ostree


class Known:
    """What is known to have been composed from one set of inputs."""

    def __init__(self, workdir: Workdir, inputs: Mapping[str, Json]) -> None:
        self.repo = workdir.repo
        self.store = Store(workdir.cache / "steps")
        self.inputs = inputs

    def from_build(self, before: Previous) -> Commit | None:
        """The commit of a build made from the same inputs, if the repository has it."""
        if before.record.inputs.get("compose") != self.inputs:
            return None
        data = before.meta.to_json()
        when = datetime.fromisoformat(before.meta.ostree_timestamp)
        commit = Commit(
            checksum=before.meta.ostree_commit,
            ref=before.meta.ref or "",
            version=before.meta.ostree_version,
            timestamp=int(when.timestamp()),
            content_checksum=str(data.get("ostree-content-checksum", "")),
            stats={},
            kernel=str(data.get("coreos-assembler.kernel", "")),
        )
        return self._if_there(commit, "same as in the build before")

    def from_killed_run(self, version: str, metadata: Mapping[str, Json]) -> Commit | None:
        """The commit an earlier run composed from the same, but never published."""
        found = self.store.find("commit", self._key(version, metadata))
        if found is None:
            return None
        commit = Commit(**json.loads((found / "commit.json").read_text()))
        return self._if_there(commit, "composed by a run that did not finish")

    def remember(self, commit: Commit, metadata: Mapping[str, Json]) -> None:
        """Note a commit for a run that comes after this one has been killed."""
        key = self._key(commit.version, metadata)
        if self.store.find("commit", key) is None:
            with self.store.produce("commit", key) as out:
                (out / "commit.json").write_text(json.dumps(asdict(commit)))

    def _key(self, version: str, metadata: Mapping[str, Json]) -> dict[str, Json]:
        return {
            "inputs": self.inputs,
            "version": version,
            "metadata": metadata,
            "epoch": clock.source_date_epoch(),
        }

    def _if_there(self, commit: Commit, why: str) -> Commit | None:
        if not ostree.has_commit(self.repo, commit.checksum):
            return None
        with events.step("compose") as step:
            step.reuse(f"{commit.version}, {why}")
        return commit
