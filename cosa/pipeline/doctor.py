"""What the machine can do for cosa: each lack with what it costs and how to mend it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cosa.core import clock, events, fs, parallel
from cosa.core.errors import CosaError
from cosa.core.store import Json
from cosa.tools import facilities, probe, reach

GIB = 1 << 30
CHECKOUT = Path(__file__).resolve().parents[2]
# Programs without which something of ours fails.
TOOLS = (
    "apt-get", "bwrap", "butane", "createrepo_c", "dpkg-deb", "git", "grub-mkimage",
    "ignition-validate", "mcopy", "mke2fs", "mkfs.vfat", "ostree", "qemu-img", probe.QEMU, "rpm",
    "skopeo", "ssh", "unshare", "zstd",
)  # fmt: skip
OK, LACK, BROKEN = "ok", "lack", "broken"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `state` is ok, lack (works, at a cost) or broken (cosa cannot work)."""

    name: str
    state: str
    found: str
    cost: str = ""
    fix: str = ""
    seconds: float = 0.0
    data: Json = None

    def as_json(self) -> dict[str, Json]:
        """Its keys, empty ones left out."""
        known: dict[str, Json] = {"name": self.name, "state": self.state, "found": self.found}
        more: dict[str, Json] = {"cost": self.cost, "fix": self.fix, "data": self.data}
        return known | {k: v for k, v in more.items() if v} | {"seconds": self.seconds}


def examine(workdir: Path, cache: Path) -> list[Finding]:
    """Look at everything, side by side; takes seconds, a few more when a guest must be booted."""
    home, store = _nearest(workdir), _nearest(cache)
    checks: Mapping[str, Callable[[], list[Finding]]] = {
        "tools": _tools,
        "podman": _podman,
        "user namespaces": _user_namespaces,
        "sandbox": _sandbox,
        "overlay": lambda: _overlay(home),
        "fuse": lambda: _fuse(home),
        "reflink": lambda: _reflink(home),
        "accelerator": lambda: _accelerator(cache),
        "memory": _memory,
        "disk": lambda: [
            _disk("disk: working directory", home, 10),
            _disk("disk: cache", store, 6),
        ],
        "registries": _registries,
    }

    def timed(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
        started = clock.monotonic()
        with events.step(name):
            found = check()
        spent = round(clock.monotonic() - started, 2)
        return [
            finding if finding.seconds else replace(finding, seconds=spent) for finding in found
        ]

    works = [lambda n=name, c=check: timed(n, c) for name, check in checks.items()]
    return [finding for found in parallel.side_by_side(*works) for finding in found]


def verdict(findings: list[Finding]) -> bool:
    """Whether cosa can work here."""
    return all(finding.state != BROKEN for finding in findings)


def _judge(
    name: str, trouble: str, cost: str, fix: str, *, good: str = "works", bad: str = LACK
) -> list[Finding]:
    """A finding of a probe that answers with what went wrong, or nothing."""
    return [Finding(name, bad, trouble, cost, fix) if trouble else Finding(name, OK, good)]


def _tools() -> list[Finding]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return _judge(
        "tools", f"missing: {', '.join(missing)}" if missing else "",
        "what needs them fails", "run through bin/cosa, which brings every tool",
        good=f"{len(TOOLS)} programs found", bad=BROKEN,
    )  # fmt: skip


def _podman() -> list[Finding]:
    """What runs us is outside; bin/cosa, which found the settings, tells us of it."""
    settings = os.environ.get("COSA_HOST_PODMAN", "")
    if not settings:
        return [Finding("podman", OK, "not needed: running without a container of ours")]
    version = os.environ.get("COSA_HOST_PODMAN_VERSION", "")
    data: dict[str, Json] = {
        "version": version,
        "settings": settings,
        "image": os.environ.get("COSA_HOST_IMAGE", ""),
        "base": os.environ.get("COSA_HOST_BASE", ""),
    }
    return [Finding("podman", OK, f"{version}, works as: {settings}", data=data)]


def _user_namespaces() -> list[Finding]:
    return _judge(
        "user namespaces", facilities.user_namespaces(),
        "cosa runs as root only",
        "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000",
    )  # fmt: skip


def _sandbox() -> list[Finding]:
    return _judge(
        "sandbox", facilities.sandbox(),
        "no scriptlet can be run, so nothing can be composed",
        "run in a container started with --privileged (bin/cosa does), not in a plain chroot",
        good="bubblewrap starts programs", bad=BROKEN,
    )  # fmt: skip


def _overlay(folder: Path) -> list[Finding]:
    return _judge(
        "overlay", facilities.overlay(folder),
        "scriptlets run on a copy of the tree: some 10 s more for each compose",
        f"use a --workdir on ext4, XFS or btrfs, not on another overlay (tried below {folder})",
        good=f"the kernel mounts overlays below {folder}",
    )  # fmt: skip


def _fuse(folder: Path) -> list[Finding]:
    return _judge(
        "fuse", facilities.fuse(folder),
        "there is no way round where the kernel's overlay is not allowed",
        "modprobe fuse, and let /dev/fuse into the container",
        good="overlays through FUSE work",
    )  # fmt: skip


def _reflink(folder: Path) -> list[Finding]:
    return _judge(
        "reflink", facilities.reflink(folder),
        "each platform image is a sparse copy of its own: a second and some 600 MB each",
        "nothing need be done; a --workdir on XFS or btrfs shares the blocks",
        good="files can share blocks",
    )  # fmt: skip


def _accelerator(cache: Path) -> list[Finding]:
    try:
        found = probe.accelerators(cache)
    except (CosaError, OSError) as err:
        return [Finding("accelerator", BROKEN, str(err), "no image can be booted", "install QEMU")]
    data: dict[str, Json] = {
        "best": found.best, "qemu": found.qemu, "kvm_seconds": found.kvm,
        "tcg_seconds": found.tcg, "kvm_trouble": found.kvm_trouble,
    }  # fmt: skip
    if found.kvm is not None:
        text = f"kvm: a probe guest took {found.kvm:.2f} s (QEMU {found.qemu})"
        return [Finding("accelerator", OK, text, data=data)]
    if found.tcg is None:
        text = f"a probe guest boots under neither KVM nor TCG: {found.kvm_trouble}"
        fix = f"see what `{probe.QEMU} -accel tcg` says"
        return [Finding("accelerator", BROKEN, text, "no image can be booted", fix, data=data)]
    text = (
        f"tcg: a probe guest took {found.tcg:.2f} s; kvm: {found.kvm_trouble} (QEMU {found.qemu})"
    )
    return [
        Finding(
            "accelerator", LACK, text, "guests boot in about a minute instead of ten seconds",
            "use a machine (or a virtual one with nested virtualisation) whose /dev/kvm works",
            data=data,
        )
    ]  # fmt: skip


def _memory() -> list[Finding]:
    available, total = facilities.memory()
    found = f"{fs.mib(available)} available of {fs.mib(total)}"
    data: dict[str, Json] = {"available": available, "total": total}
    if available < GIB:
        fix = "stop something else, or give the machine more"
        return [Finding("memory", BROKEN, found, "steps need up to 1 GiB", fix, data=data)]
    if available < 3 * GIB:
        cost = "a guest needs 2 GiB beside the 1 GiB of a build: tests run one at a time or not"
        return [Finding("memory", LACK, found, cost, "give guests less with -m", data=data)]
    return [Finding("memory", OK, found, data=data)]


def _disk(name: str, folder: Path, wanted: int) -> Finding:
    free = facilities.free_space(folder)
    found = f"{fs.mib(free)} free at {folder}"
    data: dict[str, Json] = {"free": free, "path": str(folder)}
    if not os.access(folder, os.W_OK):
        return Finding(name, BROKEN, f"{folder} is not writable", "nothing can be kept",
                       "choose another with --workdir or COSA_CACHE", data=data)  # fmt: skip
    if free < wanted * GIB:
        cost = f"a few builds with their images take some {wanted} GiB; then the disk is full"
        fix = "free some space, `cosa clean`, or choose another place"
        return Finding(name, LACK if free > 3 * GIB else BROKEN, found, cost, fix, data=data)
    return Finding(name, OK, found, data=data)


_STALE = "the assembler image cannot be built anew"
_FROM_APT = "nothing can be pulled from it; the assembler's base is made from apt's sources instead"
_COSTS = {
    "apt": (
        "the stand-in cannot be made or brought up to date, except from what is cached",
        "check apt's sources and the network",
    ),
    "pip": (_STALE, "check pip's index and the network"),
    "go": (_STALE, "check GOPROXY and the network"),
    "container": (_FROM_APT, "name a mirror in registries.conf, or leave it: cosa works without"),
}


def _registries() -> list[Finding]:
    asked = reach.registries(CHECKOUT / "Containerfile")
    answers = parallel.each(reach.ask, asked, limit=16)
    return [_registry(answer) for answer in answers]


def _registry(answer: reach.Answer) -> Finding:
    name = f"{answer.registry.kind}: {answer.registry.name}"
    if not answer.trouble:
        return Finding(name, OK, "answers", seconds=answer.seconds)
    cost, fix = _COSTS[answer.registry.kind]
    return Finding(name, LACK, answer.trouble, cost, fix, seconds=answer.seconds)


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    return next(p for p in (path, *path.parents) if p.is_dir())
