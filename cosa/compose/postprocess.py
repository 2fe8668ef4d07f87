"""What the treefile wants done to the installed tree, before it becomes an OSTree system.

Split in two because scripts come last: `prepare` changes files by itself,
`run_scripts` runs `postprocess` and `postprocess-script` in the sandbox.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from cosa.compose.scripts import ScriptRun
from cosa.compose.tree import Tree
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.model.treefile import Treefile
from cosa.tools import sandbox

_RPMDB = "usr/share/rpm"
_OS_RELEASE = "usr/lib/os-release"
_BACKENDS = ("sqlite", "ndb")
_ADD_ROOTS = ("usr/", "etc/", "bin/", "sbin/", "lib/", "lib64/")


def prepare(tree: Tree, treefile: Treefile, version: str, rpmdb: Path) -> None:
    """Every change that needs no program of the tree, in rpm-ostree's order."""
    place_rpmdb(tree, rpmdb)
    _units(tree, treefile)
    tree.write("usr/share/rpm-ostree/treefile.json", treefile.to_flat_json())
    if treefile.mutate_os_release is not None:
        mutate_os_release(tree, treefile.mutate_os_release, version)
    for rel in treefile.remove_files:
        tree.remove(_inside(tree, rel))
    for source, dest in treefile.add_files:
        add_file(tree, source, dest)


def place_rpmdb(tree: Tree, rpmdb: Path) -> None:
    """Put the database where rpm-ostree has it, with links from where programs look."""
    tree.remove(_RPMDB)
    place = tree.mkdir(_RPMDB)
    for file in sorted(rpmdb.iterdir()):
        shutil.move(file, place / file.name)
    tree.link("var/lib/rpm", "../../usr/share/rpm")
    tree.mkdir("usr/lib/sysimage")
    tree.link("usr/lib/sysimage/rpm", "../../share/rpm")
    tree.mkdir("usr/lib/rpm/macros.d")
    tree.write("usr/lib/rpm/macros.d/macros.rpm-ostree", "%_dbpath /usr/share/rpm\n")


def db_backend(tree: Tree, treefile: Treefile) -> str:
    """The kind of RPM database to write: `rpmdb: target` is what the tree's own rpm reads.

    Raises `compose/rpmdb` for one that cannot be written here.
    """
    if treefile.rpmdb == "host":
        return _BACKENDS[0]
    backend = _BACKENDS[0]
    for rel in ("usr/lib/rpm/macros", *sorted(_macro_files(tree))):
        for line in (tree.read(rel) or "").splitlines():
            if line.startswith("%_db_backend"):
                backend = line.split()[-1]
    if backend not in _BACKENDS:
        raise CosaError(
            "compose/rpmdb",
            f"the tree's rpm keeps its database as '{backend}', which cannot be written here",
            Where(str(treefile.path)),
            fix="set `rpmdb: host`; the tree's rpm then has to convert it (rpmdb --rebuilddb)",
        )
    return backend


def _macro_files(tree: Tree) -> list[str]:
    folder = tree.path("usr/lib/rpm/macros.d")
    return [f"usr/lib/rpm/macros.d/{path.name}" for path in folder.glob("macros.*")]


def _units(tree: Tree, treefile: Treefile) -> None:
    for unit in treefile.units:
        if not tree.exists(f"usr/lib/systemd/system/{unit}"):
            template = re.sub(r"@.*\.", "@.", unit)
            if not tree.exists(f"usr/lib/systemd/system/{template}"):
                raise CosaError(
                    "compose/no-unit",
                    f"`units` names {unit}, which no package ships",
                    Where(str(treefile.path)),
                )
        tree.link(
            f"etc/systemd/system/multi-user.target.wants/{unit}", f"/usr/lib/systemd/system/{unit}"
        )
    if treefile.default_target:
        tree.link("usr/lib/systemd/system/default.target", treefile.default_target)


def unversioned(tree: Tree, scratch: Path) -> dict[str, Path]:
    """Files that hold the build's version, and copies as they are before it gets into them.

    dracut is shown these: an initramfs made for one version is good for the next.
    """
    text = tree.read(_OS_RELEASE)
    if text is None:
        return {}
    place = scratch / "os-release"
    place.write_text(text, encoding="utf-8", errors="surrogateescape")
    place.chmod(0o644)
    return {_OS_RELEASE: place}


def mutate_os_release(tree: Tree, base: str, version: str) -> None:
    """Replace the base version by the build's in VERSION and PRETTY_NAME; add OSTREE_VERSION."""
    text = tree.read(_OS_RELEASE)
    if text is None:
        raise CosaError("compose/os-release", "the tree has no usr/lib/os-release to change")
    lines = []
    for line in text.splitlines():
        key = line.partition("=")[0]
        if key == "OSTREE_VERSION":
            continue
        if key in {"VERSION", "PRETTY_NAME"}:
            line = line.replace(base, version)  # noqa: PLW2901  the line as it will be
        lines.append(line)
    lines.append(f"OSTREE_VERSION='{version}'")
    tree.write(_OS_RELEASE, "\n".join(lines) + "\n")


def add_file(tree: Tree, source: Path, dest: str) -> None:
    """Copy a file or folder of the configuration into the tree, root's, without set-id bits.

    Raises `compose/add-files` for a place add-files may not reach.
    """
    rel = dest.strip("/")
    rel = rel.removeprefix("usr/") if rel.startswith("usr/etc/") else rel
    if not rel.startswith(_ADD_ROOTS) or rel.startswith("usr/local/") or ".." in rel.split("/"):
        raise CosaError(
            "compose/add-files",
            f"add-files may not write to {dest}",
            fix="its destinations are below /usr (not /usr/local), /etc, /bin, /sbin and /lib",
        )
    if source.is_dir():
        tree.mkdir(rel)
        for entry in sorted(source.iterdir()):
            add_file(tree, entry, f"{rel}/{entry.name}")
    elif source.is_symlink():
        tree.mkdir(os.path.dirname(rel))
        tree.link(rel, os.readlink(source))
    else:
        tree.remove(rel)
        tree.write(rel, source.read_bytes(), stat.S_IMODE(source.stat().st_mode) & 0o755)


def _inside(tree: Tree, rel: str) -> str:
    """A path of remove-files, its folder's links followed; the last name is taken literally."""
    clean = rel.strip("/")
    clean = clean.removeprefix("usr/") if clean.startswith("usr/etc/") else clean
    if ".." in clean.split("/") or not clean:
        raise CosaError("compose/remove-files", f"remove-files has a path outside the tree: {rel}")
    above, _, name = clean.rpartition("/")
    folder = os.path.relpath(tree.resolve(above), tree.root) if above else ""
    return f"{folder}/{name}" if folder not in {"", "."} else name


def run_scripts(run: ScriptRun, treefile: Treefile, step: events.Step) -> None:
    """`postprocess` items, then `postprocess-script`. Raises `postprocess/failed`."""
    total = len(treefile.postprocess) + bool(treefile.postprocess_script)
    for number, body in enumerate(treefile.postprocess, 1):
        _run(run, body, f"postprocess script {number} of {len(treefile.postprocess)}", treefile)
        step.progress(number, total, "scripts")
    if treefile.postprocess_script:
        text = treefile.postprocess_script.read_text()
        _run(run, text, f"the postprocess-script {treefile.postprocess_script.name}", treefile)


def _run(run: ScriptRun, body: str, what: str, treefile: Treefile) -> None:
    first = body.lstrip().splitlines()[0] if body.strip() else ""
    if not first.startswith("#!"):
        raise CosaError(
            "postprocess/interpreter",
            f"{what} does not say what runs it",
            Where(str(treefile.path)),
            why=f"it begins: {first[:80]}",
            fix="let its first line be, for example, #!/usr/bin/bash",
        )
    result = run.run_text(body.lstrip(), what)
    if result.status != 0:
        raise CosaError(
            "postprocess/failed",
            f"{what} failed (exit status {result.status})",
            Where(str(treefile.path)),
            why=_excerpt(body) + "\n" + (sandbox.output(result) or "it printed nothing"),
            exit_class=ExitClass.STEP,
        )


def _excerpt(body: str) -> str:
    lines = [line for line in body.strip().splitlines() if line.strip()][:4]
    return "\n".join(["it begins:", *(f"  {line}" for line in lines), "it said:"])
