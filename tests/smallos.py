"""An operating system of six small RPMs: a real repository, compose and disk in a few seconds.

For tests of the flow where what is in the OS does not matter. The RPMs are made by rpmbuild
and signed; kernel, initramfs and boot loader are random bytes, so it cannot boot. There is a
shell (the machine's dash with its libc) for scriptlets.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "tool/fetch"))

from repomaker import Signer, createrepo, run

KVER = "6.1.0-1"
_HEAD = """\
Name: small
Version: 1
Release: 1
Summary: test
License: test
%global _build_id_links none
%global debug_package %{nil}
%global __os_install_post %{nil}
%description
test
"""
_EXTRA = {"shell": "Provides: /bin/sh\n"}
_PACKAGES = {
    "filesystem": """\
for each in bin sbin lib lib64; do mkdir -p %{buildroot}/usr/$each; ln -s usr/$each %{buildroot}/$each; done
mkdir -p %{buildroot}/etc %{buildroot}/var/lib %{buildroot}/boot %{buildroot}/usr/share
printf 'root:x:0:0:root:/root:/bin/sh\\nbin:x:1:1:bin:/bin:/bin/sh\\n' > %{buildroot}/etc/passwd
printf 'root:x:0:\\nbin:x:1:\\n' > %{buildroot}/etc/group
mkdir -p %{buildroot}/usr/lib
printf 'NAME=Small\\nID=small\\nVERSION_ID=1\\n' > %{buildroot}/usr/lib/os-release
""",
    "shell": """\
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/sbin
cp -L --parents /bin/dash $(ldd /bin/dash | grep -o '/[^ ]*') %{buildroot}/usr
ln -s dash %{buildroot}/usr/bin/sh
printf '#!/usr/bin/sh\\nexit 0\\n' > %{buildroot}/usr/sbin/depmod
chmod 755 %{buildroot}/usr/sbin/depmod
""",
    "kernel": f"""\
mkdir -p %{{buildroot}}/usr/lib/modules/{KVER} %{{buildroot}}/usr/lib/shim
mkdir -p %{{buildroot}}/usr/lib/grub/x86_64-efi-signed
for each in lib/modules/{KVER}/vmlinuz lib/modules/{KVER}/initramfs.img \\
  lib/shim/shimx64.efi.signed lib/grub/x86_64-efi-signed/grubx64.efi.signed; do
  head -c 100000 /dev/urandom > %{{buildroot}}/usr/$each
done
""",
    "data": """\
mkdir -p %{buildroot}/usr/share/data
for n in $(seq 200); do echo $n > %{buildroot}/usr/share/data/$n; done
head -c 3000000 /dev/urandom > %{buildroot}/usr/share/data/big
""",
    "app": "",  # see `version`
    "tools": "mkdir -p %{buildroot}/usr/libexec; echo tools > %{buildroot}/usr/libexec/tools\n",
}  # fmt: skip
_APP = """\
mkdir -p %{{buildroot}}/usr/share/app %{{buildroot}}/etc
echo {version} > %{{buildroot}}/usr/share/app/version
echo setting > %{{buildroot}}/etc/app.conf
"""
_APP_POST = "%post -n app\necho made > /usr/share/app/made-by-script\n"
MANIFEST = """\
ref: small/${basearch}/stable
releasever: "1"
automatic-version-prefix: "${releasever}.dev"
mutate-os-release: "${releasever}"
rojig: {name: small, summary: A small OS for tests, license: none}
repos: [small]
packages: [app, data, filesystem, kernel, shell, tools]
selinux: false
no-initramfs: true
boot-location: modules
documentation: true
postprocess:
  - |
    #!/usr/bin/sh
    echo post > /usr/share/data/postprocess
"""
IMAGE = "size: 2\nrootfs: ext4\nextra-kargs: [quiet]\n"


def _spec(names: list[str], version: str, extra: str = "") -> str:
    """One spec for all packages, each of files found below a folder of its own."""
    text = _HEAD
    install = "%install\n"
    lists = ""
    for name in names:
        text += f"%package -n {name}\nSummary: test\nVersion: {version if name == 'app' else 1}\n"
        text += f"AutoReqProv: no\n{_EXTRA.get(name, '')}%description -n {name}\ntest\n"
        body = _APP.format(version=version) + extra if name == "app" else _PACKAGES[name]
        # The lists are of what each body adds; `find` beside the build root remembers.
        install += (
            body + f"(cd %{{buildroot}} && find . ! -type d -printf '/%%P\\n' | sort) > all.now\n"
            f"touch all.before; comm -13 all.before all.now > {name}.files; mv all.now all.before\n"
        )
        lists += f"%files -n {name} -f {name}.files\n"
    if "app" in names:
        text += _APP_POST
    return text + "%prep\n%build\n" + install + lists


def build_rpms(folder: Path, names: list[str], version: str = "1", extra: str = "") -> list[Path]:
    """RPMs of some of the packages; `extra` are lines more of app's making."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "small.spec"
    spec.write_text(_spec(names, version, extra))
    run(
        "rpmbuild", "-bb", "--define", f"_topdir {folder}/build", "--define",
        f"_rpmdir {folder}/rpms", "--define",
        "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", spec,
    )  # fmt: skip
    shutil.rmtree(folder / "build")
    return sorted((folder / "rpms").glob("*.rpm"))


@dataclass
class SmallOS:
    """`repo` is the repository, `config` the definition; `cache` stands for $COSA_CACHE."""

    root: Path
    signer: Signer
    cache: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def repo(self) -> Path:
        return self.root / "repo"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @classmethod
    def make(cls, root: Path) -> SmallOS:
        """Repository and definition below `root`, which must not be an overlay (see README)."""
        root.mkdir(parents=True, exist_ok=True)
        made = cls(root, Signer(root / "gpg", "small"), root / "cache")
        build_rpms(root / "made", list(_PACKAGES))
        (root / "made/rpms").rename(made.repo)
        made.publish()
        made.config.mkdir()
        (made.config / "manifest.yaml").write_text(MANIFEST)
        (made.config / "image.yaml").write_text(IMAGE)
        made.write_repo(made.repo.as_uri())
        return made

    def write_repo(self, url: str) -> None:
        """The definition's .repo file."""
        (self.config / "small.repo").write_text(
            f"[small]\nname=small\nbaseurl={url}\nenabled=1\ngpgcheck=1\n"
            f"gpgkey={self.signer.public.as_uri()}\n"
        )

    def publish(self) -> None:
        """Sign what is in the repository's folder and write its metadata."""
        self.signer.sign_rpms(sorted(self.repo.glob("*.rpm")))
        createrepo(self.repo)

    def update(self, version: str, extra: str = "") -> None:
        """A new version of `app` takes the place of the old one."""
        fresh = build_rpms(self.root / "made", ["app"], version, extra)
        for old in self.repo.glob("app-*.rpm"):
            old.unlink()
        for path in fresh:
            shutil.move(path, self.repo / path.name)
        self.publish()

    def command(self, workdir: Path, *words: str) -> list[str]:
        return [sys.executable, "-m", "cosa.cli.main", "--workdir", str(workdir), *words]

    def cosa(
        self, workdir: Path, *words: str, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run cosa; its result. With `check` a failure is an AssertionError with what it said."""
        import os

        done = subprocess.run(
            self.command(workdir, *words), capture_output=True, text=True, check=False,
            env=os.environ | {"COSA_CACHE": str(self.cache)} | self.env | env,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done

    def init(self, workdir: Path) -> Path:
        self.cosa(workdir, "init", str(self.config))
        return workdir


def code_of(done: subprocess.CompletedProcess[str]) -> str:
    """The slug of the error a command ended with, empty without one."""
    found = re.search(r"\[([a-z0-9-]+/[a-z0-9-]+)\]", done.stderr)
    return found.group(1) if found else ""
