"""Words of upstream that are not commands here: where they went, and what to do instead.

`GONE` will not come back, `LATER` is not in this version; both end with a status that
stops a script. docs/commands.md is the long form.
"""

from __future__ import annotations

from collections.abc import Mapping

from cosa.cli.parse import usage_error
from cosa.core.errors import CosaError

# command -> (why it is gone, what to do instead)
GONE: Mapping[str, tuple[str, str]] = {
    "build-fast": (
        "every build takes over what did not change",
        "put RPMs into overrides/rpm or files into overrides/rootfs and run `cosa build`",
    ),
    "dev-overlay": (
        "files laid over a build need no commit by hand",
        "put them into overrides/rootfs and run `cosa build`",
    ),
    "generate-hashlist": ("nothing reads exp-hash.json any more", "see `cosa build-validate`"),
    "offline-update": (
        "it rewrote a disk inside a virtual machine",
        "run `cosa build qemu`: a disk with the new commit is made in seconds",
    ),
    "podman-build": (
        "images of OCP were built with it inside a virtual machine",
        "run `podman build` in `cosa shell`",
    ),
    "remote-prune": ("it listed buckets from local folders", "see `cosa prune`"),
    "test-coreos-installer": ("its tests are guest tests", "run `cosa kola run 'iso.*'`"),
    "upload-oscontainer": (
        "containers of the old form are no longer made",
        "push the build's container with `cosa push-container HOST/REPOSITORY`",
    ),
    "virt-install": (
        "there is no libvirt in the assembler",
        "run `cosa run`, or give libvirt the disk `cosa meta --image-path qemu` names",
    ),
}  # fmt: skip

# Commands of upstream this version does not have (yet).
LATER = (
    "aliyun-replicate", "aws-replicate", "build-extensions-container", "buildextend-extensions",
    "buildextend-extensions-container", "buildextend-legacy-oscontainer", "buildextend-secex",
    "coreos-prune", "generate-release-meta",
    "imageupload-aliyun", "imageupload-aws", "imageupload-azure", "imageupload-gcp",
    "imageupload-powervs", "koji-upload", "ore", "plume",
    "powervs-replicate", "remote-build-container",
    "remote-session", "sign",
)  # fmt: skip


def explained(name: str) -> CosaError | None:
    """The error for a command of upstream that is not one here; None for other words."""
    if name in GONE:
        why, instead = GONE[name]
        return usage_error(
            "gone", f"there is no `cosa {name}` any more", fix=instead, why=why
        )  # fmt: skip
    if name in LATER:
        return usage_error(
            "not-here", f"this version of cosa has no `{name}`",
            fix="docs/commands.md lists what it has; upstream's own tool reads builds made here",
        )  # fmt: skip
    return None
