"""Repository metadata without packages, for the solver; and whole repositories made by rpmbuild."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

_FLAGS = {">=": "GE", "<=": "LE", "=": "EQ", ">": "GT", "<": "LT"}


@dataclass(frozen=True)
class Pkg:
    name: str
    evr: str = "1-1"
    arch: str = "noarch"
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()


def write_metadata(folder: Path, packages: Iterable[Pkg], timestamp: int = 1000) -> str:
    """A repository of which only the metadata exists; its URL."""
    packages = list(packages)
    primary = "".join(map(_primary, packages))
    lists = "".join(
        f'<package pkgid="{p.digest}" name={quoteattr(p.name)} arch="{p.arch}">{_version(p.evr)}'
        + "".join(f"<file>{escape(f)}</file>" for f in p.files)
        + "</package>"
        for p in packages
    )
    common = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'
    texts = {
        "primary": f'<metadata {common} packages="{len(packages)}">{primary}</metadata>',
        "filelists": f'<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{len(packages)}">{lists}</filelists>',
    }
    (folder / "repodata").mkdir(parents=True, exist_ok=True)
    entries = ""
    for kind, text in texts.items():
        data = gzip.compress(text.encode(), mtime=0)
        (folder / f"repodata/{kind}.xml.gz").write_bytes(data)
        entries += (
            f'<data type="{kind}"><checksum type="sha256">{hashlib.sha256(data).hexdigest()}</checksum>'
            f'<location href="repodata/{kind}.xml.gz"/><timestamp>{timestamp}</timestamp>'
            f"<size>{len(data)}</size></data>"
        )
    (folder / "repodata/repomd.xml").write_text(
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{entries}</repomd>'
    )
    return folder.as_uri()


def _version(evr: str) -> str:
    epoch, _, rest = evr.rpartition(":")
    version, _, release = rest.partition("-")
    return f'<version epoch="{epoch or 0}" ver="{version}" rel="{release}"/>'


def _primary(p: Pkg) -> str:
    own = f"{p.name} = {p.evr}"
    groups = "".join(
        f"<rpm:{kind}>{''.join(map(_entry, deps))}</rpm:{kind}>"
        for kind, deps in (
            ("provides", (own, *p.provides)),
            ("requires", p.requires),
            ("conflicts", p.conflicts),
            ("obsoletes", p.obsoletes),
            ("recommends", p.recommends),
        )
        if deps
    )
    shown = [f for f in p.files if f.startswith("/etc/") or "bin/" in f]
    files = "".join(f"<file>{escape(f)}</file>" for f in shown)
    return (
        f'<package type="rpm"><name>{escape(p.name)}</name><arch>{p.arch}</arch>{_version(p.evr)}'
        f'<checksum type="sha256" pkgid="YES">{p.digest}</checksum><summary/><description/><packager/><url/>'
        f'<time file="1" build="1"/><size package="100" installed="100" archive="100"/>'
        f'<location href="Packages/{p.name}-{p.evr.rpartition(":")[2]}.{p.arch}.rpm"/><format>'
        f"<rpm:license/><rpm:sourcerpm>{p.name}-src-1-1.src.rpm</rpm:sourcerpm>{groups}{files}</format></package>"
    )


def _entry(dep: str) -> str:
    if dep.startswith("(") or " " not in dep:
        return f"<rpm:entry name={quoteattr(dep)}/>"
    name, op, evr = dep.split()
    epoch, _, rest = evr.rpartition(":")
    version, dash, release = rest.partition("-")
    rel = f' rel="{release}"' if dash else ""
    return f'<rpm:entry name={quoteattr(name)} flags="{_FLAGS[op]}" epoch="{epoch or 0}" ver="{version}"{rel}/>'


SPEC = """\
Name: base
Version: 1
Release: 1
Summary: test
License: test
BuildArch: noarch
%description
test
%package -n app
Summary: test
Requires: (base or other)
%description -n app
%package -n extra
Version: 2
Summary: test
Epoch: 3
%description -n extra
%install
mkdir -p %{buildroot}/usr/share/base %{buildroot}/usr/bin %{buildroot}/usr/share/extra
echo hello > %{buildroot}/usr/share/base/one
ln %{buildroot}/usr/share/base/one %{buildroot}/usr/share/base/two
ln -s ../share/base/one %{buildroot}/usr/bin/link
: > %{buildroot}/usr/share/base/empty
head -c 300000 /dev/urandom > %{buildroot}/usr/share/extra/big
%post
echo post of base
%posttrans -p <lua>
print("x")
%transfiletriggerin -P 100 -- /usr/lib/systemd /usr/share/base
echo trigger
%files
/usr/share/base
%attr(4755,root,shadow) /usr/share/base/two
/usr/bin/link
%ghost /usr/share/base/ghost
%files -n app
%files -n extra
%caps(cap_net_raw=p) /usr/share/extra/big
"""


def run(*argv: str | Path, **env: str) -> str:
    done = subprocess.run(
        [str(a) for a in argv], env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
    return done.stdout


def build_rpms(folder: Path, spec: str = SPEC) -> list[Path]:
    """Build a spec; the RPMs, in `folder/rpms`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.spec").write_text(spec)
    out = folder / "rpms"
    run(
        "rpmbuild", "-bb", "--define", f"_topdir {folder}/build", "--define", f"_rpmdir {out}",
        "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        folder / "test.spec",
    )  # fmt: skip
    return sorted(out.glob("*.rpm"))


class Signer:
    """A GnuPG home with one key."""

    def __init__(self, home: Path, who: str) -> None:
        home.mkdir(mode=0o700, parents=True)
        self.home, self.who = home, f"{who}@example.org"
        uid = f"{who} <{self.who}>"
        self.gpg("--passphrase", "", "--quick-gen-key", uid, "ed25519", "sign", "never")
        self.public = home / f"{who}.asc"
        self.public.write_text(self.gpg("--armor", "--export", self.who))

    def gpg(self, *args: str | Path) -> str:
        return run("gpg", "--batch", "--quiet", *args, GNUPGHOME=str(self.home))

    def sign_rpms(self, paths: Sequence[Path]) -> None:
        run("rpmsign", "--addsign", "--define", f"_gpg_name {self.who}", *paths,
            GNUPGHOME=str(self.home), GPG_TTY="")  # fmt: skip

    def sign_file(self, path: Path) -> None:
        self.gpg("--yes", "--armor", "-u", self.who, "--detach-sign", path)


def createrepo(folder: Path) -> None:
    run("createrepo_c", "--no-database", "--quiet", folder)
