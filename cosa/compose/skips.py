"""Package scripts that do not run in a compose, or run as something else.

The table is rpm-ostree's (src/libpriv/rpmostree-script-gperf.gperf and
rust/src/scripts.rs): scripts that only make sense on a live system, that do
what the compose does itself, or that rpm-ostree does in another way than in Lua.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from cosa.tools.rpmheader import Scriptlet

LUA = "<lua>"
_SKIP_MARK = "rpm-ostree-skip"
_SKIP_LINES = 10

# package pattern, kind of script
_IGNORED = (
    *((name, "pre") for name in (
        "glibc", "glibc-headers*", "coreutils*", "ca-certificates", "pinentry*", "gdb", "vagrant*",
    )),
    *((name, "post") for name in ("libgcc", "setup", "bash", "nfs-utils", "microcode_ctl")),
    *((name, "posttrans") for name in (
        "filesystem", "fedora-release*", "microcode_ctl", "kernel", "kernel-core",
        "kernel-modules", "kernel-modules-*", "kernel-rt*", "kernel-debug*", "kernel-16k*",
        "kernel-64k*", "kernel-automotive*", "linux-image-*",
    )),
    *((name, "transfiletriggerin") for name in ("systemd", "systemd-udev", "man-db", "filesystem")),
)  # fmt: skip

_OS_RELEASE = """
set -e
if test -e /usr/lib/os.release.d/os-release-fedora; then
  ln -sf os.release.d/os-release-fedora /usr/lib/os-release
fi
"""
_CRYPTO_POLICIES = """
set -e
mkdir -p /etc/crypto-policies/back-ends
echo DEFAULT > /etc/crypto-policies/config
for f in /usr/share/crypto-policies/DEFAULT/*.txt; do
  test -e "$f" || continue
  ln -sf "$f" "/etc/crypto-policies/back-ends/$(basename "$f" .txt).config"
done
"""
_AUTHSELECT = """
set -e
if test -e /etc/authselect/authselect.conf; then
  mkdir -p /etc/authselect/custom
fi
"""

_LOCALES = "exec /usr/sbin/build-locale-archive --install-langs @LANGS@"

# package pattern, kind: the shell that does what the Lua did
_REPLACED = (
    ("fedora-release*", "post", _OS_RELEASE),
    ("glibc-common", "post", ""),
    (
        "glibc-all-langpacks",
        "posttrans",
        _LOCALES,
    ),
    ("glibc-common", "transfiletriggerin", "exec /usr/sbin/ldconfig"),
    ("glibc", "post", "if test -x /usr/sbin/iconvconfig; then exec /usr/sbin/iconvconfig; fi"),
    ("glibc-gconv-extra", "post", "exec /usr/sbin/iconvconfig"),
    ("glibc", "posttrans", ""),
    ("crypto-policies", "post", _CRYPTO_POLICIES),
    ("authselect-libs", "pre", _AUTHSELECT),
)

# Never run when a tree is made from nothing: there is nothing to remove or to verify, and
# %pretrans and %triggerprein run before any file exists.
NEVER = frozenset(
    {
        "pretrans", "preun", "postun", "verifyscript",
        "triggerun", "triggerpostun", "triggerprein",
        "filetriggerun", "filetriggerpostun", "transfiletriggerun", "transfiletriggerpostun",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What to do with a script: run it (perhaps as another body), or leave it out."""

    action: str  # run or skip
    script: Scriptlet | None = None


def judge(package: str, script: Scriptlet, langs: Sequence[str] = ()) -> Verdict:
    """Decide on one script of a package; `langs` is the treefile's install-langs, empty for all."""
    if script.kind in NEVER:
        return Verdict("skip")
    if any(kind == script.kind and fnmatch.fnmatchcase(package, name) for name, kind in _IGNORED):
        return Verdict("skip")
    if script.interpreter[0] != LUA:
        return Verdict("run", script)
    for name, kind, body in _REPLACED:
        if kind == script.kind and fnmatch.fnmatchcase(package, name):
            if not body:
                return Verdict("skip")
            text = body.replace("@LANGS@", ":".join(langs) or "all")
            shell = Scriptlet(kind, text, ("/bin/sh",), 0, script.patterns, script.priority)
            return Verdict("run", shell)
    if any(_SKIP_MARK in line for line in script.body.splitlines()[:_SKIP_LINES]):
        return Verdict("skip")
    return Verdict("run", script)
