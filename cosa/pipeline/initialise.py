"""`cosa init`: make a folder a working directory for an OS definition."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cosa.core import events, fs, run
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.workdir import Workdir


@dataclass(frozen=True)
class Source:
    """Where something is cloned from (or linked to), and which state of it."""

    location: str
    branch: str = ""
    commit: str = ""


def init(
    workdir: Workdir,
    config: Source,
    *,
    variant: str = "",
    yumrepos: Source | None = None,
    force: bool = False,
) -> None:
    """Lay out the folders and bring in the definition.

    A definition that is there already is kept. Raises `workdir/not-empty`
    without `force`, `workdir/no-manifest` when the definition lacks its files
    (nothing is left behind then), `init/clone` when git fails.
    """
    root = workdir.root
    root.mkdir(parents=True, exist_ok=True)
    if not force and any(root.iterdir()):
        raise CosaError(
            "workdir/not-empty",
            f"{root} is not empty",
            fix="choose an empty folder with --workdir, or use --force",
            exit_class=ExitClass.USAGE,
        )
    (root / "src").mkdir(exist_ok=True)
    if workdir.config.is_symlink() or workdir.config.exists():
        events.note(f"{workdir.config} is there already and stays")
        _check_definition(workdir.config, variant)
    else:
        _bring(config, workdir.config, variant=variant)
    if variant:
        text = json.dumps({"coreos-assembler.config-variant": variant}) + "\n"
        fs.atomic_write(workdir.variant_file, text)
    elif force:
        workdir.variant_file.unlink(missing_ok=True)
    if yumrepos and not (workdir.yumrepos.is_symlink() or workdir.yumrepos.exists()):
        _bring(yumrepos, workdir.yumrepos, variant=None)
    for folder in (
        workdir.overrides / "rpm",
        workdir.overrides / "rootfs",
        workdir.cache,
        workdir.tmp,
        workdir.builds,
    ):
        folder.mkdir(parents=True, exist_ok=True)


def _bring(source: Source, target: Path, *, variant: str | None) -> None:
    """Link or clone `source` as `target`; `variant` None means it need not be a definition."""
    local = Path(source.location)
    # A local checkout's state is what it holds, so a branch or commit asks for a clone.
    if (local.is_absolute() or local.is_dir()) and not source.branch and not source.commit:
        if not local.is_dir():
            raise CosaError(
                "init/no-config", f"there is no folder {local}", exit_class=ExitClass.USAGE
            )
        if variant is not None:
            _check_definition(local, variant)
        target.symlink_to(local.resolve())
        return
    with fs.private_dir(target.parent, "clone") as work:
        _clone(source, work / "git")
        if variant is not None:
            _check_definition(work / "git", variant)
        fs.publish(work / "git", target)


def _clone(source: Source, target: Path) -> None:
    with events.step(f"clone {source.location}"):
        argv = ["git", "-c", "safe.directory=*", "clone", "-q", "--recurse-submodules"]
        if not source.commit:
            argv += ["--depth", "1", "--shallow-submodules"]
        if source.branch:
            argv += ["--branch", source.branch]
        steps = [[*argv, "--", source.location, str(target)]]
        if source.commit:
            steps += [
                ["git", "-C", str(target), "checkout", "-q", source.commit],
                ["git", "-C", str(target), "submodule", "-q", "update", "--init", "--recursive"],
            ]
        for words in steps:
            result = run.run(words, env={"GIT_TERMINAL_PROMPT": "0"}, check=False)
            if result.status != 0:
                raise CosaError(
                    "init/clone",
                    f"cannot clone {source.location}",
                    why=result.err.strip()[-2000:],
                    fix="check the address, --branch and --commit",
                    exit_class=ExitClass.NETWORK,
                )


def _check_definition(folder: Path, variant: str) -> None:
    suffix = f"-{variant}" if variant else ""
    names = [f"manifest{suffix}.yaml", f"image{suffix}.yaml"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        there = sorted(
            entry.name.removeprefix("manifest-").removesuffix(".yaml")
            for entry in folder.glob("manifest-*.yaml")
            if not entry.name.startswith("manifest-lock")
        )
        hint = f"it has the variants {', '.join(there)}: choose one with -V" if there else ""
        raise CosaError(
            "workdir/no-manifest",
            f"{folder} is no OS definition: it has no {' and no '.join(missing)}",
            fix=hint or "name a folder or git address with manifest.yaml and image.yaml",
        )
