"""Small packages made by rpmbuild, and a compose of them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cosa.compose.job import Commit, ComposeJob
from cosa.compose.native import compose
from cosa.core import fs
from cosa.model.treefile import load_treefile
from cosa.tools import ostree
from cosa.tools.rpmfile import RpmReader

EPOCH = 1_700_000_000
SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: {name}
License: none
BuildArch: noarch
AutoReqProv: no
{tags}
%description
{name}
%install
mkdir -p %{{buildroot}}
{install}
%files
{files}
{scripts}
"""
# What `date` says must not reach a package, or two sessions' tests would differ.
_DEFINES = {
    "_build_id_links": "none", "__os_install_post": "%{nil}", "_buildhost": "localhost",
    "_binaries_in_noarch_packages_terminate_build": "0", "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1", "_binary_payload": "w3.zstdio",
    "__brp_mangle_shebangs": "%{nil}",
}  # fmt: skip
TREEFILE = """
ref: test/stable
selinux: false
packages: [base]
machineid-compat: false
mutate-os-release: "13"
postprocess:
  - |
    #!/bin/sh
    echo done > /etc/postprocessed
"""
PROGRAMS = ("sh", "cat", "sleep", "mkdir", "chmod", "chown", "stat", "sort")


class Maker:
    """Makes packages below a folder, each once."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.made: dict[object, Path] = {}

    def rpm(
        self, name: str, scripts: str = "", *, files: dict[str, str] | None = None, tags: str = "",
        version: str = "1", attr: str = "",
    ) -> Path:  # fmt: skip
        """A package with text files (one named after it unless told otherwise) and scripts."""
        wanted = files if files is not None else {f"/usr/lib/{name}": f"{name}\n"}
        key = (name, scripts, tuple(wanted.items()), tags, version, attr)
        if key not in self.made:
            source = self.top / f"source-{len(self.made)}"
            for path, text in wanted.items():
                place = source / path.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
            install = f"cp -a {source}/. %{{buildroot}}/" if wanted else ""
            listed = "\n".join(f"{attr} {path}" for path in wanted)
            self.made[key] = self.build(name, install, listed, scripts, tags, version)
        return self.made[key]

    def build(
        self, name: str, install: str, files: str, scripts: str = "", tags: str = "",
        version: str = "1",
    ) -> Path:  # fmt: skip
        """A package from the sections of a spec file."""
        top = self.top / f"build-{name}-{version}-{len(self.made)}"
        top.mkdir()
        spec = top / f"{name}.spec"
        spec.write_text(
            SPEC.format(
                name=name, version=version, tags=tags, install=install, files=files, scripts=scripts
            )
        )
        defines = [f"--define={key} {value}" for key, value in _DEFINES.items()]
        subprocess.run(
            ["rpmbuild", "-bb", "--quiet", f"--define=_topdir {top}", *defines, spec],
            check=True, capture_output=True, env={"PATH": "/usr/bin", "SOURCE_DATE_EPOCH": "1000"},
        )  # fmt: skip
        return top / "RPMS/noarch" / f"{name}-{version}-1.noarch.rpm"

    @functools.cached_property
    def base(self) -> Path:
        """A shell, a few programs, accounts, an os-release, and a file nobody may change."""
        tools = self.top / "tools"
        for program in PROGRAMS:
            install_program(program, tools)
        for path, text in {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
            "etc/group": "root:x:0:\n",
            "usr/lib/os-release": 'VERSION="13"\n',
            "usr/lib/precious": "shared\n",
        }.items():
            place = tools / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (tools / "var/lib/demo").mkdir(parents=True)
        (tools / "bin").symlink_to("usr/bin")
        return self.build(
            "base", f"cp -a {tools}/. %{{buildroot}}/", "/bin\n/etc/*\n/usr/*\n%dir /var/lib/demo"
        )


def install_program(program: str, root: Path) -> None:
    """Copy a program of the assembler and the libraries it needs into a tree."""
    real = Path(shutil.which(program) or "").resolve()
    place = root / "usr/bin" / program
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(real, place)
    listed = subprocess.run(["ldd", real], capture_output=True, text=True, check=True).stdout
    for word in listed.split():
        if word.startswith("/"):
            target = root / "usr" / word.lstrip("/").removeprefix("usr/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)


def job_of(folder: Path, rpms: Sequence[Path], text: str = TREEFILE) -> ComposeJob:
    """A compose of these packages with everything of its own below `folder`."""
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "manifest.yaml").write_text(text)
    packages, paths = [], {}
    for rpm in rpms:
        with RpmReader(rpm) as reader:
            package = replace(reader.package, digest="sha256:" + fs.sha256_file(rpm))
        packages.append(package)
        paths[package.nevra] = rpm
    return ComposeJob(
        tree=load_treefile(config / "manifest.yaml", "x86_64"), packages=tuple(sorted(packages)),
        rpms=paths, config=config, overrides_rootfs=None, extra_layers={},
        cache=folder / "cache", scratch=folder / "scratch", target_repo=folder / "repo",
        version="13.1", epoch=EPOCH,
    )  # fmt: skip


def fsck(repo: Path) -> None:
    """Every object of a repository is what its name says."""
    subprocess.run(["ostree", "fsck", "--quiet", f"--repo={repo}"], check=True, capture_output=True)


def text_of(job: ComposeJob, commit: Commit, path: str) -> str | None:
    """A file of a commit."""
    return ostree.Repo(job.target_repo).read_text(commit.checksum, path)


def listing(job: ComposeJob, commit: Commit, path: str) -> str:
    """Mode, owner and size of a path, as `ostree ls` prints them."""
    return subprocess.run(
        ["ostree", "ls", f"--repo={job.target_repo}", commit.checksum, path],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def run(folder: Path, rpms: Sequence[Path], text: str = TREEFILE) -> tuple[ComposeJob, Commit]:
    """Compose these packages below `folder`."""
    job = job_of(folder, rpms, text)
    return job, compose(job)
