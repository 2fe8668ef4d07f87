"""What lies in a release, taken out: manifests, credentials requests, tools.

Tools are programs inside component images with room left for the release's
name: NUL, a marker, NUL, then `X` up to a fixed length, as `oc` defines it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cosa.core import fs
from cosa.payload import component, documents
from cosa.payload.component import Image
from cosa.payload.documents import Object
from cosa.payload.errors import refused
from cosa.payload.layer import LAYER_LIMIT, File, unpacked
from cosa.payload.read import Payload
from cosa.tools.registry import Client

_CLOUDS = {
    "alibabacloud": "AlibabaCloudProviderSpec", "aws": "AWSProviderSpec",
    "azure": "AzureProviderSpec", "gcp": "GCPProviderSpec", "ibmcloud": "IBMCloudProviderSpec",
    "nutanix": "NutanixProviderSpec", "openstack": "OpenStackProviderSpec",
    "ovirt": "OvirtProviderSpec", "powervs": "IBMCloudPowerVSProviderSpec",
    "vsphere": "VSphereProviderSpec",
}  # fmt: skip
_MARKERS = {"_RELEASE_IMAGE_LOCATION_": 300, "_RELEASE_VERSION_LOCATION_": 64,
            "_RELEASE_ARCHITECTURE_LOCATION_": 64}  # fmt: skip
TOOL_LIMIT = 1 << 30


@dataclass(frozen=True)
class Tool:
    """A program of a release: its name, the component it is in, its path there."""

    command: str
    tag: str
    path: str
    system: str = "linux"


TOOLS = (
    Tool("oc", "cli", "usr/bin/oc"),
    Tool("oc", "cli-artifacts", "usr/share/openshift/linux_amd64/oc", "linux/amd64"),
    Tool("oc", "cli-artifacts", "usr/share/openshift/linux_arm64/oc", "linux/arm64"),
    Tool("oc", "cli-artifacts", "usr/share/openshift/mac/oc", "mac"),
    Tool("oc", "cli-artifacts", "usr/share/openshift/windows/oc.exe", "windows"),
    Tool("openshift-install", "installer", "usr/bin/openshift-install"),
    Tool("openshift-install", "installer-artifacts", "usr/share/openshift/mac/openshift-install",
         "mac"),
    Tool("ccoctl", "cloud-credential-operator", "usr/bin/ccoctl"),
)  # fmt: skip


def one_file(payload: Payload, name: str) -> bytes:
    """A file of the release. Raises `payload/no-such-file`."""
    if name in payload.files:
        return payload.files[name].data
    from difflib import get_close_matches

    near = get_close_matches(name, payload.files, n=1)
    raise refused(
        "no-such-file", f"the release {payload.version} holds no file {name}",
        fix=f"did you mean {near[0]!r}?" if near else "`cosa payload info --contents` lists them",
    )  # fmt: skip


def credentials_requests(payload: Payload, cloud: str = "") -> dict[str, File]:
    """The CredentialsRequests by file name, those of one cloud if it is named."""
    wanted = ""
    if cloud:
        if cloud not in _CLOUDS:
            raise refused(
                "unknown-cloud", f"--cloud knows no {cloud!r}",
                fix=f"choose one of {', '.join(_CLOUDS)}",
            )  # fmt: skip
        wanted = _CLOUDS[cloud]
    return select(payload.manifests, lambda one: _requests(one, wanted))


def _requests(one: Object, provider: str) -> bool:
    if one.kind != "CredentialsRequest":
        return False
    spec = one.data.get("spec")
    asked = spec.get("providerSpec") if isinstance(spec, dict) else None
    return not provider or (isinstance(asked, dict) and asked.get("kind") == provider)


def select(files: Mapping[str, File], wanted: Callable[[Object], bool]) -> dict[str, File]:
    """Files with the objects that are wanted, other objects of the same file left out."""
    import json

    found: dict[str, File] = {}
    for name, file in files.items():
        if not name.endswith(documents.SUFFIXES):
            continue
        everything = documents.objects(file.data, name)
        kept = [one for one in everything if wanted(one)]
        if not kept:
            continue
        if len(kept) == len(everything):
            found[name] = file
            continue
        import yaml

        dump = json.dumps if name.endswith(".json") and len(kept) == 1 else None
        text = (
            dump(kept[0].data, indent=2) if dump
            else yaml.safe_dump_all([one.data for one in kept], sort_keys=False)
        )  # fmt: skip
        found[name] = File(name, text.encode(), file.mtime)
    return found


def write(files: Mapping[str, File], folder: Path) -> int:
    """Write files into a folder, what else is there stays; their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        fs.atomic_write(fs.safe_join(folder, name), file.data)
    return len(files)


def tools(
    client: Client, payload: Payload, folder: Path, *, command: str = "", system: str = ""
) -> list[Path]:
    """Write the release's programs, their markers filled, with a list of digests.

    Programs whose component the release lacks are passed over, unless one was
    asked for by name.
    """
    wanted = [
        tool for tool in TOOLS
        if (not command or tool.command == command)
        and (not system or tool.system.startswith(system))
        and payload.stream.find(tool.tag)
    ]  # fmt: skip
    if not wanted:
        known = sorted({tool.command for tool in TOOLS})
        raise refused(
            "no-such-tool", f"the release {payload.version} holds no {command or 'tools'}"
            + (f" for {system}" if system else ""),
            why=f"known are {', '.join(known)}, in images the release may lack",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for tool in wanted:
        tag = payload.stream.find(tool.tag)
        assert tag is not None, "checked above"
        image = component.read_image(client, tag)
        data = _program(client, image, tool)
        if data is None:
            if command:
                raise refused("no-such-tool", f"the image of {tool.tag} holds no /{tool.path}")
            continue
        written.append(_pack(folder, tool, payload, patched(data, payload)))
    _digests(folder, written)
    return written


def _program(client: Client, image: Image, tool: Tool) -> bytes | None:
    """A file of an image: of the topmost layer that has it."""
    for layer in reversed(image.manifest.layers):
        with tempfile.TemporaryDirectory(prefix="cosa-tool") as scratch:
            path = Path(scratch) / "layer"
            if int(layer["size"]) > LAYER_LIMIT:
                raise refused("too-big", f"a layer of {image.ref} is too large")
            client.save_blob(image.manifest.ref, str(layer["digest"]), path)
            with path.open("rb") as file:
                data = _member(file, tool.path, image)
            if data is not None:
                return data
    return None


def _member(file: IO[bytes], wanted: str, image: Image) -> bytes | None:
    try:
        with tarfile.open(fileobj=unpacked(file, str(image.ref)), mode="r|") as tar:
            for member in tar:
                if member.name.removeprefix("./") == wanted and member.isreg():
                    if member.size > TOOL_LIMIT:
                        raise refused("too-big", f"{wanted} of {image.ref} is too large")
                    source = tar.extractfile(member)
                    assert source is not None, "regular files have content"
                    return source.read()
    except (tarfile.TarError, EOFError, OSError) as err:
        raise refused(
            "bad-layer", f"a layer of {image.ref} cannot be read", why=str(err), untrusted=True
        ) from None
    return None


def patched(data: bytes, payload: Payload) -> bytes:
    """A program with the release's name, version and architecture in the room left for them."""
    values = {
        "_RELEASE_IMAGE_LOCATION_": str(payload.ref),
        "_RELEASE_VERSION_LOCATION_": payload.version,
        "_RELEASE_ARCHITECTURE_LOCATION_": str(payload.image.config.get("architecture", "")),
    }
    for marker, room in _MARKERS.items():
        pattern = re.compile(b"\0" + marker.encode() + b"\0" + b"X" * room)
        value = values[marker].encode()
        if len(value) + 1 > room:
            raise refused("too-long", f"{values[marker]} does not fit into the room of {marker}")
        filled = value + b"\0" + b"X" * (room - len(value) - 1)
        whole = b"\0" + marker.encode() + b"\0" + filled
        data = pattern.sub(whole.replace(b"\\", b"\\\\"), data, count=1)
    return data


def _pack(folder: Path, tool: Tool, payload: Payload, data: bytes) -> Path:
    name = Path(tool.path).name
    base = "openshift-client" if tool.command == "oc" else tool.command
    system = tool.system.replace("/", "-")
    out = folder / f"{base}-{system}-{payload.version}.tar.gz"
    with fs.private_dir(folder, "tool") as work:
        made = work / out.name
        # No time in the header: the same program packs to the same bytes.
        with (
            gzip.GzipFile(made, "wb", compresslevel=6, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(data)
            tar.addfile(entry, io.BytesIO(data))
        fs.publish(made, out)
    return out


def _digests(folder: Path, written: Sequence[Path]) -> None:
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in written]
    fs.atomic_write(folder / "sha256sum.txt", "\n".join(sorted(lines)) + "\n")
