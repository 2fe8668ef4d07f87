"""bubblewrap: programs of a tree run in it, apart from the machine and from the cache.

The tree is the lower layer of an overlay mounted inside the sandbox's own mount
namespace. What a program writes goes to `upper`; the tree's inodes cannot be
reached for writing, and no mount outlives the sandbox, however it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass
from cosa.core.run import Result

# What rpm-ostree leaves to scripts (rpmostree-bwrap.cxx).
SCRIPT_CAPS = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_SYS_CHROOT", "CAP_SETFCAP",
)  # fmt: skip

_FIX = "run `cosa doctor`: it says what this machine does not allow"
_OVERLAY_FIX = (
    "keep the working directory on a file system of its own (a volume or bind mount), "
    "not in a container's root, which is an overlay itself; `cosa doctor` tells more"
)


@dataclass(frozen=True)
class Layers:
    """An overlay: `lowers` (the bottom first) are read, changes go to `upper`.

    `work` is on upper's file system. No layer may change while a sandbox has it mounted.
    """

    lowers: tuple[Path, ...]
    upper: Path
    work: Path

    @classmethod
    def make(cls, lowers: Sequence[Path], scratch: Path, name: str) -> Layers:
        """Fresh layers below `scratch`. The upper root looks like the lower one."""
        layers = cls(tuple(lowers), scratch / f"{name}.upper", scratch / f"{name}.work")
        for folder in (layers.upper, layers.work):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        return layers


@dataclass
class Sandbox:
    """How to run programs of a tree. `layers` None means the tree is read-only.

    `binds` and `ro_binds` map places in the sandbox to places outside;
    `readonly` are folders of the tree that stay read-only though there is an
    upper layer. Paths in the sandbox are absolute.
    """

    root: Path
    layers: Layers | None
    env: Mapping[str, str]
    binds: dict[str, Path] = field(default_factory=dict)
    ro_binds: dict[str, Path] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ("/run", "/tmp", "/var/tmp")  # noqa: S108  the sandbox's own
    caps: tuple[str, ...] = SCRIPT_CAPS
    cwd: str = "/"

    def argv(self, program: Sequence[str]) -> list[str]:
        """The bwrap command line. No user namespace: that would change owners."""
        args = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        args += ["--hostname", "localhost", "--new-session", "--die-with-parent"]
        if self.layers:
            for lower in self.layers.lowers:
                args += ["--overlay-src", str(lower)]
            args += ["--overlay", str(self.layers.upper), str(self.layers.work), "/"]
        else:
            args += ["--ro-bind", str(self.root), "/"]
        args += ["--proc", "/proc", "--dev", "/dev"]
        for place in self.tmpfs:
            args += ["--perms", "0755" if place == "/run" else "1777", "--tmpfs", place]
        for place, source in self.ro_binds.items():
            args += ["--ro-bind", str(source), place]
        for place, source in self.binds.items():
            args += ["--bind", str(source), place]
        args += ["--cap-drop", "ALL"]
        for cap in self.caps:
            args += ["--cap-add", cap]
        args += ["--clearenv"]
        for name, value in self.env.items():
            args += ["--setenv", name, value]
        return [*args, "--chdir", self.cwd, "--", *program]

    def run(
        self, program: Sequence[str], *, data: bytes | None = None, timeout: float | None = None
    ) -> Result:
        """Run a program; its status and output, whatever they are.

        Raises `run/timeout` when it takes longer than `timeout` seconds: it is
        ended then, with everything it started. Raises `compose/sandbox` when
        the sandbox itself cannot be set up.
        """
        # bwrap ties itself to us (--die-with-parent); there are many short runs.
        argv = self.argv(program)
        result = run.run(argv, input=data, timeout=timeout, check=False, tied=False)
        if result.status != 0 and result.err.startswith("bwrap: "):
            raise CosaError(
                "compose/sandbox",
                "the sandbox for programs of the tree cannot be set up",
                why=result.err.strip(),
                fix=_OVERLAY_FIX if "overlay" in result.err else _FIX,
                exit_class=ExitClass.ENVIRONMENT,
            )
        return result


def script_env(epoch: int) -> dict[str, str]:
    """The whole environment of a package's script, as rpm-ostree gives it."""
    return {
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin",
        "SOURCE_DATE_EPOCH": str(epoch),
        "SYSTEMD_OFFLINE": "1",
    }


def output(result: Result, lines: int = run.TAIL_LINES) -> str:
    """What a program said, stderr after stdout, the last lines of it."""
    text = "\n".join(filter(None, (result.out.strip(), result.err.strip())))
    return "\n".join(text.splitlines()[-lines:])
