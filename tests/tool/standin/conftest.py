"""An apt repository on disk, signed by a key of its own, and the means to spoil it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# The maker of small packages lives beside the unit tests, which need it too.
sys.path.insert(0, str(Path(__file__).parents[2] / "unit/standin"))

import debmaker

from cosa.standin.openpgp import SigningKey

ARCHIVE_KEY = SigningKey(bytes(range(1, 33)), 1_600_000_000)
ESSENTIAL = {"base-files": "13.8", "base-passwd": "3.6.7"}


@dataclass
class Archive:
    """`etc` is the folder with apt's sources and keyring; `debs` what the archive holds."""

    root: Path
    etc: Path
    debs: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def add(self, name: str, version: str = "1.0-1", raw: bytes | None = None, **fields) -> None:
        text = debmaker.control(name, version, **fields)
        entries = [debmaker.Entry(f"./usr/share/{name}/file", name.encode() * 50)]
        if name == "base-passwd":
            entries += [
                debmaker.Entry(f"./usr/share/base-passwd/{kind}.master", b"root:*:0:0::/:/bin/sh\n")
                for kind in ("passwd", "group")
            ]
        self.debs[name] = (text, raw if raw is not None else debmaker.deb(text, entries))

    def write(self, key: SigningKey | None = ARCHIVE_KEY) -> None:
        """Publish everything; without a key the lists stay unsigned."""
        pool, lists = self.root / "pool", self.root / "dists/test/main/binary-amd64"
        pool.mkdir(parents=True, exist_ok=True)
        lists.mkdir(parents=True, exist_ok=True)
        text = ""
        for name, (control, raw) in self.debs.items():
            digest = hashlib.sha256(raw).hexdigest()
            (pool / f"{name}.deb").write_bytes(raw)
            text += f"{control}Filename: pool/{name}.deb\nSize: {len(raw)}\nSHA256: {digest}\n\n"
        (lists / "Packages").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        release = (
            "Origin: test\nSuite: test\nCodename: test\nArchitectures: amd64\nComponents: main\n"
            "Date: Sat, 01 Nov 2025 00:00:00 UTC\n"
            f"SHA256:\n {digest} {len(text)} main/binary-amd64/Packages\n"
        )
        folder = self.root / "dists/test"
        (folder / "Release").write_text(release)
        (folder / "Release.gpg").unlink(missing_ok=True)
        if key:
            (folder / "Release.gpg").write_text(key.sign_armored(release.encode()))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    etc = tmp_path / "etc"
    (etc / "keyrings").mkdir(parents=True)
    (etc / "keyrings/test.asc").write_text(ARCHIVE_KEY.public_armored())
    made = Archive(tmp_path / "archive", etc)
    signed = f"signed-by={etc}/keyrings/test.asc"
    (etc / "sources.list").write_text(f"deb [{signed}] copy:{made.root} test main\n")
    for name, version in ESSENTIAL.items():
        made.add(name, version, Essential="yes")
    return made


@pytest.fixture
def rpm_verdicts(tmp_path: Path):
    """`rpm -K` for each package of a repository, under its own key."""

    def verdicts(repo) -> list[str]:
        database = tmp_path / "rpmdb"
        database.mkdir(exist_ok=True)
        base = ["rpmkeys", "--dbpath", str(database)]
        subprocess.run([*base, "--import", str(repo.key)], check=True)
        packages = sorted(map(str, repo.path.glob("Packages/*.rpm")))
        result = subprocess.run(
            [*base, "-K", *packages], capture_output=True, text=True, check=False
        )
        return [line.rpartition(": ")[2] for line in result.stdout.splitlines()]

    return verdicts
