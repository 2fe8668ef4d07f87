"""Which version of an OS a variant of the definition means: symlinks in src/config."""

from __future__ import annotations

import os
from pathlib import Path

from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.pipeline.workdir import Workdir

_NEEDED = ("manifest", "image")
_OPTIONAL = ("extensions",)


def update(workdir: Workdir, variant: str, version: str) -> list[str]:
    """Point manifest-VARIANT.yaml and its companions at those of a version; what was changed.

    The variant `default` has no suffix. All names are checked before any is changed.
    Raises `variant/name`, `variant/no-version`, `variant/not-a-link`.
    """
    workdir.need_init()
    for word in (variant, version):
        if not word or "/" in word or word.startswith("."):
            raise CosaError(
                "variant/name", f"{word!r} cannot name a variant", exit_class=ExitClass.USAGE
            )
    suffix = "" if variant == "default" else f"-{variant}"
    config = workdir.config
    links = {
        config / f"{stem}{suffix}.yaml": f"{stem}-{version}.yaml"
        for stem in (*_NEEDED, *_OPTIONAL)
        if stem in _NEEDED or (config / f"{stem}-{version}.yaml").is_file()
    }
    _check(config, links)
    done = []
    for link, target in links.items():
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        os.replace(fresh, link)
        done.append(f"{link.name} -> {target}")
    return done


def _check(config: Path, links: dict[Path, str]) -> None:
    problems = Problems()
    for link, target in links.items():
        if not (config / target).is_file():
            names = sorted(
                path.stem.removeprefix("manifest-") for path in config.glob("manifest-*.yaml")
                if not path.name.startswith("manifest-lock")
            )  # fmt: skip
            problems.add(
                "variant/no-version", f"the OS definition has no {target}",
                fix=f"there are: {', '.join(names) or 'none'}",
            )  # fmt: skip
        elif link.name == target:
            problems.add("variant/name", f"{link.name} cannot point at itself")
        elif link.exists() and not link.is_symlink():
            problems.add(
                "variant/not-a-link", f"{link} is a file, not a link to a version",
                fix="it would be lost: move it to the name of a version first",
            )  # fmt: skip
    problems.raise_if_any("the definition stays as it is", ExitClass.USAGE)
