"""`standin`: the RPM repository made from Debian packages, by itself."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import CHECKOUT, settings


@command(
    group="Tools",
    iterable=["names"],
    metavar={"manifest": "FILE", "arch": "ARCH"},
    help={
        "names": "Debian packages; default those of the manifest",
        "manifest": "treefile whose packages are wanted; default the working directory's,"
        " else manifests/standin/manifest.yaml",
        "arch": "as RPM calls it; default this machine's",
        "refresh": "fetch new package lists first",
        "json": "print a JSON object instead of lines",
    },
)
def standin(
    _c: Context,
    names: list[str],
    manifest: str = "",
    arch: str = "",
    refresh: bool = False,
    json: bool = False,
) -> None:
    """Make or update the stand-in repository and print where it is.

    Any RPM tool can use it: the address is a baseurl, the key verifies both
    packages and repomd.xml. Nothing changed takes no network and no time.
    """
    import json as codec
    from pathlib import Path

    from cosa.model.treefile import load_treefile
    from cosa.pipeline.definition import shared_cache
    from cosa.pipeline.workdir import Workdir, basearch
    from cosa.standin.repository import make, names_of

    arch = arch or basearch()
    if not names:
        workdir = Workdir(settings().workdir)
        if manifest:
            path = Path(manifest)
        elif workdir.config.is_dir():
            path = workdir.manifest()
        else:
            path = CHECKOUT / "manifests/standin/manifest.yaml"
        names = names_of(load_treefile(path, arch))
    made = make(names, shared_cache(), arch, refresh=refresh)
    if json:
        row = {
            "url": made.url, "path": str(made.path), "key": str(made.key),
            "packages": made.packages,
        }  # fmt: skip
        print(codec.dumps(row, indent=2))
    else:
        print(f"baseurl   {made.url}\ngpgkey    {made.key.as_uri()}\npackages  {made.packages}")
