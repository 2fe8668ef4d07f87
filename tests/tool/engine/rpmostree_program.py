"""Stands in for rpm-ostree in tests: the command line's contract, without the composing.

It takes the options rpm-ostree's `compose tree` has and no others, notes how it was called, and
does with what it is given what the real one does before it composes: flattens the treefile,
reads the .repo files beside it, solves strictly by the lockfile, looks for the layers in the
repository. Then it commits a tree of the layers and writes the composejson and the lockfile
in the shapes the real one writes. `told.json` in $FAKE_DIR makes it misbehave; how it was
called goes to `called.json` there.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cosa.compose.resolve import resolve
from cosa.model.lockfile import load_lockfile
from cosa.model.treefile import load_treefile
from cosa.tools import ostree
from cosa.tools.repofile import read_repo_files

# Stands in for what only a real compose has: the input hash is rpm-ostree's own affair.
HERE = Path(os.environ["FAKE_DIR"])
INPUTHASH = hashlib.sha256(b"inputs").hexdigest()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="rpm-ostree", allow_abbrev=False)
    top.add_argument("--unified-core", action="store_true")
    for name in ("repo", "layer-repo", "cachedir", "touch-if-changed", "write-composejson-to",
                 "ex-write-lockfile-to", "previous-commit", "previous-inputhash", "parent",
                 "workdir", "proxy", "write-commitid-to"):  # fmt: skip
        top.add_argument(f"--{name}")
    for name in ("ex-lockfile", "add-metadata-from-json", "add-metadata-string"):
        top.add_argument(f"--{name}", action="append", default=[])
    for name in ("ex-lockfile-strict", "no-parent", "force-nocache", "cache-only", "dry-run",
                 "download-only", "print-only"):  # fmt: skip
        top.add_argument(f"--{name}", action="store_true")
    top.add_argument("treefile", type=Path)
    return top


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print("rpm-ostree:\n Version: '2026.2'\n Git: 0123abcd\n Features:\n  - rust")
        return 0
    told = json.loads((HERE / "told.json").read_text())
    assert sys.argv[1:3] == ["compose", "tree"], sys.argv
    if told.get("fail"):
        print("error: Running %post for glibc: bwrap: no such luck", file=sys.stderr)
        return 1
    args = parser().parse_args(sys.argv[3:])
    tree = load_treefile(args.treefile, os.uname().machine)
    repos = read_repo_files(args.treefile.parent, {})
    locks = [load_lockfile(Path(name)) for name in args.ex_lockfile]
    cache = Path(args.cachedir)
    assert cache.is_dir()
    found = resolve(tree, repos, cache=cache, lockfiles=locks, strict=args.ex_lockfile_strict)
    note = {
        "argv": sys.argv[1:], "epoch": os.environ.get("SOURCE_DATE_EPOCH"),
        "umask": f"{os.umask(0o022):o}", "treefile": json.loads(args.treefile.read_text()),
        "metadata": [json.loads(Path(p).read_text()) for p in args.add_metadata_from_json],
        "packages": [p.nevra for p in found.packages], "rpmmd": found.rpmmd_repos,
        "flat": json.loads(tree.to_flat_json()), "cwd": os.getcwd(),
    }  # fmt: skip
    (HERE / "called.json").write_text(json.dumps(note))
    lock = found.lockfile(int(os.environ["SOURCE_DATE_EPOCH"]))
    if told.get("other-package"):
        kept = {n: p for n, p in lock.packages.items() if n != told["other-package"]}
        lock = lock.model_copy(update={"packages": kept})
    lock.write(Path(args.ex_write_lockfile_to))
    if told.get("unchanged"):
        print("No apparent changes since previous commit; use --force-nocache to override")
        return 0
    commit(args, tree, found, told)
    return 0


def commit(args: argparse.Namespace, tree, found, told: dict) -> None:
    repo = Path(args.repo)
    metadata = [f"--add-metadata-string={text}" for text in args.add_metadata_string]
    rows = sorted((p.name, p.epoch, p.version, p.release, p.arch) for p in found.packages)
    texts = ", ".join(str(tuple(row)) for row in rows)
    metadata += [f"--add-metadata=rpmostree.rpmdb.pkglist=[{texts}]"]
    metadata += [
        f"--add-metadata-string=rpmostree.inputhash={INPUTHASH}",
        "--add-metadata-string=ostree.linux=6.11.4-301.fc41.x86_64",
    ]
    if tree.ref:
        metadata.append(f"--branch={tree.ref}")
    else:
        metadata.append("--orphan")
    layers = [*tree.ostree_layers, *tree.ostree_override_layers]
    trees = [f"--tree=ref={name}" for name in layers]
    stamp = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).isoformat()
    done = subprocess.run(
        ["ostree", "commit", f"--repo={repo}", *trees, *metadata, f"--timestamp={stamp}",
         f"--parent={args.parent or 'none'}", "--no-bindings"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    checksum = done.stdout.strip()
    body = {
        "ref": tree.ref, "ostree-n-metadata-total": 10313, "ostree-n-metadata-written": 3746,
        "ostree-n-content-total": 30395, "ostree-n-content-written": 25915,
        "ostree-n-cache-hits": 7, "ostree-content-bytes-written": 1797710538,
        "ostree-commit": checksum,
        "ostree-content-checksum": ostree.Repo(repo).content_checksum(checksum),
        "ostree-version": dict(t.split("=", 1) for t in args.add_metadata_string)["version"],
        "ostree-timestamp": stamp.replace("+00:00", "Z"), "rpm-ostree-inputhash": INPUTHASH,
    }  # fmt: skip
    if args.parent:
        body["ostree-parent-commit"] = args.parent
        body["pkgdiff"] = [["bash", 2, {"PreviousPackage": ["bash", "5-1", "noarch"],
                                        "NewPackage": ["bash", "5-2", "noarch"]}]]  # fmt: skip
    body |= told.get("composejson", {})
    Path(args.write_composejson_to).write_text(json.dumps(body))
    Path(args.touch_if_changed).touch()


if __name__ == "__main__":
    sys.exit(main())
