"""A distribution made of a list of names and versions: what each package needs is made up, but plausibly.

Every package that nobody asks for is needed by one that is there, so the solver has to find
all of them; there are virtual names, file dependencies, a sonable libc, packages only
recommended, several providers of one name, and versions newer than those locked.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rpmforge import Rpm, forge_all

from cosa.model.package import split_evra

# Names people ask for that are provided under another.
VIRTUAL = {"grub2": "grub2-pc", "shim": "shim-x64"}
_LIBC = "libc.so.6()(64bit)"
# What real packages of these names are known to need.
_KNOWN = {
    "kernel": ["kernel-core", "kernel-modules"],
    "kernel-core": ["kernel-modules-core", "dracut", "linux-firmware", "/usr/bin/kernel-install"],
    "kernel-modules": ["kernel-modules-core"],
    "ignition": ["dracut", "(systemd-udev if systemd)"],
    "podman": ["conmon", "crun", "netavark", "(container-selinux if selinux-policy)"],
    "systemd": ["systemd-libs", "systemd-pam", "dbus", "filesystem"],
    "selinux-policy-targeted": ["selinux-policy", "policycoreutils"],
    "rpm-ostree": ["ostree", "bubblewrap", "rpm-ostree-libs"],
}
_FILES = {
    "bash": ["/usr/bin/bash", "/usr/bin/sh"], "systemd-udev": ["/usr/bin/kernel-install"],
    "coreutils": ["/usr/bin/cp"],
}  # fmt: skip
_RECOMMENDED = {
    "git-core": ["perl-interpreter"],
    "fwupd": ["python3"],
    "vim-minimal": ["vim-enhanced"],
}
# In the repositories, never to be in the solution.
UNWANTED = ("perl-interpreter", "python3", "vim-enhanced", "dnf5", "kernel-debug-core", "cowsay")


@dataclass
class Distribution:
    """Name -> evra, and which of them are asked for."""

    packages: Mapping[str, str]
    asked: frozenset[str]
    _needs: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = {VIRTUAL.get(name, name) for name in self.asked}
        roots = sorted(asked & set(self.packages))
        for name, wants in _KNOWN.items():
            known = [w for w in wants if not w.isascii() or w[0] in "/(" or w in self.packages]
            self._needs[name] = [w for w in known if self._possible(w)]
        needed = set(asked) | {w for n in self._needs if n in asked for w in self._needs[n]}
        for name in sorted(set(self.packages) - needed):
            user = self._user(name, roots)
            _, version, release, _ = split_evra(self.packages[name])
            sibling = self.packages[name] == self.packages.get(user)
            self._needs.setdefault(user, []).append(
                f"{name} = {version}-{release}"
                if sibling and ":" not in self.packages[name]
                else name
            )

    def _possible(self, want: str) -> bool:
        if want[0] == "/":
            return any(want in files for name, files in _FILES.items() if name in self.packages)
        return want[0] != "(" or want[1:].split(maxsplit=1)[0] in self.packages

    def _user(self, name: str, roots: list[str]) -> str:
        """Who needs a package nobody asked for: its main package, or anyone, but always the same."""
        stem = name
        while "-" in stem:
            stem = stem.rpartition("-")[0]
            if stem in roots:
                return stem
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        return roots[number % len(roots)]

    def rpm(self, name: str) -> Rpm:
        epoch, version, release, arch = split_evra(self.packages[name])
        evr = f"{epoch}:{version}-{release}"
        requires = list(self._needs.get(name, ()))
        provides = [f"{virtual} = {evr}" for virtual, real in VIRTUAL.items() if real == name]
        if name == "glibc":
            provides.append(_LIBC)
        elif arch != "noarch" and "glibc" in self.packages:
            requires.append(_LIBC)
        if name.endswith("-dracut") or name == "dracut":
            requires.append("/usr/bin/sh")
        return Rpm(
            name, evr, arch, tuple(requires), tuple(provides),
            tuple(_RECOMMENDED.get(name, ())), files=tuple(_FILES.get(name, ())),
        )  # fmt: skip


def unwanted(arch: str, dist: str) -> list[Rpm]:
    return [Rpm(name, f"9.9-9{dist}", arch, files=(f"/usr/bin/{name}",)) for name in UNWANTED]


def newer(evra: str) -> str:
    """A version above one that is locked."""
    epoch, version, release, arch = split_evra(evra)
    return f"{epoch}:{version}.99-{release}.{arch}"


def publish(folder: Path, rpms: Iterable[Rpm]) -> None:
    """Forge the RPMs and index them."""
    forge_all(folder, rpms)
    subprocess.run(["createrepo_c", "-q", "--no-database", folder], check=True)
