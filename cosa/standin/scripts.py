"""Maintainer scripts as RPM scriptlets.

dpkg configures a package when all of Essential is unpacked, which is what RPM
promises a `%posttrans` and not a `%post`. The script itself is the package's
own, byte for byte; around it stands only what dpkg would have set up: its
environment, and its database with the names of files, conffiles and debconf
templates (py3compile, ucf and debconf ask for these). preinst is left out: on
a fresh installation it has nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from cosa.standin import tarstream

# Where packages carry their part of dpkg's database. It is not /var/lib/dpkg
# because an image-based system does not take /var from packages.
DATABASE = "/usr/share/standin/dpkg"
_END = "__end_of_the_maintainer_script__"

_PROLOGUE = """\
set -e
umask 022
db=/var/lib/dpkg own={own}
if [ ! -e "$db/info/{info}.list" ]; then
    mkdir -p "$db/info" "$db/alternatives" "$db/triggers" "$db/updates" "$db/parts"
    cp {database}/info/* "$db/info/"
    cat {database}/status.d/* > "$db/status.standin.$$"
    mv "$db/status.standin.$$" "$db/status"
    [ -e "$db/diversions" ] || : > "$db/diversions"
    [ -e "$db/statoverride" ] || : > "$db/statoverride"
fi
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_NAME={kind}
export DPKG_MAINTSCRIPT_ARCH={arch} DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
export DPKG_RUNNING_VERSION=1.22.21 DPKG_ADMINDIR="$db" DPKG_ROOT=
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true INITRD=No
"""


def scriptlets(name: str, arch: str, info: str, parts: Mapping[str, bytes]) -> dict[str, str]:
    """RPM scriptlets (posttrans, preun, postun) for the maintainer scripts in `parts`.

    `info` is the package's stem in dpkg's info folder. Raises
    `standin/bad-archive` for a script that is not text with an interpreter.
    """
    made = {}
    for kind, scriptlet, argument in (
        ("postinst", "posttrans", "configure ''"),
        ("prerm", "preun", "remove"),
        ("postrm", "postun", "remove"),
    ):
        if kind not in parts:
            continue
        head = _PROLOGUE if kind == "postinst" else _REMOVAL_GUARD + _PROLOGUE
        made[scriptlet] = _fill(head, name, arch, info, kind) + _body(parts[kind], kind, argument)
    return made


# RPM runs these on upgrades too, with the number of instances left.
_REMOVAL_GUARD = '[ "$1" = 0 ] || exit 0\n'


def _fill(text: str, name: str, arch: str, info: str, kind: str) -> str:
    return text.replace("own={own}", f'own="$db/info/{info}.{kind}"').format(
        name=name, arch=arch, info=info, kind=kind, database=DATABASE
    )


def _body(script: bytes, kind: str, argument: str) -> str:
    """Lay the script down where dpkg would have it (debconf looks beside it), and run it."""
    if not script.startswith(b"#!") or b"\0" in script or _END.encode() in script:
        raise tarstream.bad(f"its {kind} is not a script")
    text = script.decode("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        text += "\n"
    return (
        f'cat > "$own" <<\'{_END}\'\n{text}{_END}\n'
        f'chmod 755 "$own"\nexec "$own" {argument}\n'
    )  # fmt: skip
