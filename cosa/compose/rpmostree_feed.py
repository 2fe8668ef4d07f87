"""What rpm-ostree is fed with: repositories, layers, a lockfile, and a treefile around ours.

As coreos-assembler did, the definition's treefile is included from one in a private
folder, because `.repo` files are only read beside the top treefile, and because
layers and overrides come on top. Unlike there, each repository is a folder of links to
exactly the packages that were resolved from it, under its own id and with its own
time: `repos`, `lockfile-repos` and `repo-packages` of the definition hold unchanged,
and the commit's `rpmostree.rpmmd-repos` comes out the same as if the mirror had been read.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cosa.compose import layers, translate
from cosa.compose.job import ComposeJob
from cosa.compose.layers import Layer
from cosa.core import fs
from cosa.core.run import run
from cosa.core.store import Json
from cosa.model.lockfile import from_packages
from cosa.model.package import Package
from cosa.model.treefile import Treefile
from cosa.tools import ostree
from cosa.tools.repofile import LOCAL_REPO

TREEFILE = "cosa-manifest.json"
_RPMMD = "rpmostree.rpmmd-repos"


def write(job: ComposeJob, repo: ostree.Repo, folder: Path, lockfile: Path, metadata: Path) -> str:
    """Prepare everything in `folder`; how much it was, in words."""
    stamps = repositories(job)
    for name, stamp in stamps.items():
        packages = [package for package in job.packages if package.repo == name]
        _repository(folder / "repos" / name, packages, job.rpms, stamp)
    text = "".join(_section(name, folder / "repos" / name) for name in stamps)
    fs.atomic_write(folder / "cosa.repo", text)
    from_packages(job.packages, job.epoch, stamps).write(lockfile)
    rest = {key: value for key, value in job.metadata.items() if key != _RPMMD}
    fs.atomic_write(metadata, json.dumps(rest, indent=1, sort_keys=True) + "\n")
    found = layers.of_treefile(job.tree, job.config, job.extra_layers, job.overrides_rootfs)
    for layer in found:
        commit_layer(layer, repo)
    fs.atomic_write(
        folder / TREEFILE, json.dumps(treefile(job.tree, found, job.packages), indent=1) + "\n"
    )
    return f"{len(job.packages)} packages, {len(stamps)} repositories, {len(found)} layers"


def repositories(job: ComposeJob) -> dict[str, int]:
    """Every repository rpm-ostree will ask for: id -> seconds since 1970 of its metadata.

    One the treefile names must be there even if nothing was taken from it.
    """
    rows: Any = job.metadata.get(_RPMMD)
    known = {str(row["id"]): int(row["timestamp"]) for row in rows or ()}
    named = [*(job.tree.repos or ()), *job.tree.lockfile_repos, *known]
    named += [package.repo for package in job.packages]
    return {name: known.get(name, job.epoch) for name in sorted(set(named))}


def _repository(
    folder: Path, packages: Iterable[Package], rpms: Mapping[str, Path], stamp: int
) -> None:
    folder.mkdir(parents=True)
    for package in packages:
        name = f"{package.name}-{package.version}-{package.release}.{package.arch}.rpm"
        (folder / name).symlink_to(rpms[package.nevra].absolute())
    run([
        "createrepo_c", "--quiet", "--no-database", "--checksum=sha256",
        f"--revision={stamp}", "--set-timestamp-to-revision", str(folder),
    ])  # fmt: skip


def _section(name: str, folder: Path) -> str:
    # Signatures were checked when the files were fetched; the key is not known here.
    lines = [f"[{name}]", f"name={name}", f"baseurl={folder.as_uri()}", "gpgcheck=0"]
    return "\n".join([*lines, "repo_gpgcheck=0", "enabled=1", ""]) + "\n"


def treefile(
    tree: Treefile, found: Iterable[Layer], packages: Iterable[Package]
) -> dict[str, Json]:
    """The treefile around the definition's: what is laid over, and where overrides come from."""
    result: dict[str, Json] = {"include": str(tree.path.absolute())}
    named = {*tree.ostree_layers, *tree.ostree_override_layers}
    added = [layer for layer in found if layer.name not in named]
    over: list[Json] = [layer.name for layer in added if layer.replaces]
    under: list[Json] = [layer.name for layer in added if not layer.replaces]
    if under:
        result["ostree-layers"] = under
    if over:
        result["ostree-override-layers"] = over
    local = sorted({package.name for package in packages if package.repo == LOCAL_REPO})
    if local and tree.repos is not None:
        result["repos"] = [LOCAL_REPO]
    bound = {name for group in tree.repo_packages for name in group.packages}
    freed: list[Json] = [name for name in local if name in bound]
    if freed:
        # The last entry that names a package decides, and ours comes after all included ones.
        result["repo-packages"] = [{"repo": LOCAL_REPO, "packages": freed}]
    return result


def commit_layer(layer: Layer, repo: ostree.Repo) -> str:
    """A layer as a commit with its name as ref, in the form coreos-assembler gave them."""
    root = ostree.TreeNode()
    root.describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    nodes = {"": root}
    writer = ostree.ObjectWriter(repo.path)
    with repo.transaction():
        for item in layers.items(layer):
            above, _, name = translate.committed(item.path).rpartition("/")
            node = _node(nodes, above, repo)
            meta = ostree.Meta(item.mode, target=item.target)
            if item.is_dir:
                child = node.folder(name)
                child.describe(repo, meta)
                nodes[translate.committed(item.path)] = child
            else:
                node.file(
                    name, writer.write(meta) if item.target else writer.copy(item.source, meta)
                )
        commit = repo.write_commit(root, ostree.variant("a{sv}", {}), timestamp=0)
        repo.set_refs({layer.name: commit})
    writer.close()
    return commit


def _node(nodes: dict[str, ostree.TreeNode], path: str, repo: ostree.Repo) -> ostree.TreeNode:
    if path not in nodes:
        above, _, name = path.rpartition("/")
        nodes[path] = _node(nodes, above, repo).folder(name)
        nodes[path].describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    return nodes[path]
