"""What a release is, for people and as the JSON `oc adm release info -o json` gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cosa.payload.component import Image
from cosa.payload.imagestream import COMMIT, SOURCE
from cosa.payload.read import Payload, component_versions


def to_json(payload: Payload, images: Mapping[str, Image] | None = None) -> dict[str, Any]:
    """The JSON form; `images` fills the part of --include-images."""
    declared = component_versions(payload)
    listed = payload.image.listed
    return {
        "image": str(payload.ref),
        "digest": payload.digest,
        "contentDigest": payload.image.manifest.digest,
        "listDigest": listed.digest if listed else "",
        "config": payload.image.config,
        "metadata": payload.metadata,
        "references": payload.raw_references,
        "versions": None,
        "displayVersions": {
            key: {"Version": one.version, "DisplayName": one.display_name}
            for key, one in declared.items()
        },
        "versionsTags": {key: one.tag for key, one in declared.items()},
        "images": {name: _image(image) for name, image in images.items()} if images else None,
        "warnings": None,
    }


def _image(image: Image) -> dict[str, Any]:
    return {
        "name": str(image.ref),
        "digest": (image.listed or image.manifest).digest,
        "contentDigest": image.manifest.digest,
        "listDigest": image.listed.digest if image.listed else "",
        "mediaType": image.manifest.media_type,
        "layers": list(image.manifest.layers),
        "config": image.config,
    }


def text(
    payload: Payload,
    *,
    pullspecs: bool = False,
    commits: bool = False,
    commit_urls: bool = False,
    sizes: Mapping[str, Image] | None = None,
) -> str:
    """The page for people; the last column of images is what was asked for."""
    config = payload.image.config
    head = [
        ("Name:", payload.version),
        ("Digest:", payload.digest),
        ("Created:", str(config.get("created") or payload.stream.created)),
        ("OS/Arch:", f"{config.get('os', '')}/{config.get('architecture', '')}"),
        ("Manifests:", str(len(payload.manifests))),
    ]
    lines = [*_columns(head), "", f"Pull From: {payload.ref}"]
    if payload.metadata:
        lines += ["", "Release Metadata:", *_indented(_columns(_metadata(payload.metadata)))]
        extra = payload.metadata.get("metadata") or {}
        if extra:
            rows = [(f"{key}:", str(value)) for key, value in sorted(extra.items())]
            lines += ["  Metadata:", *_indented(_columns(rows), 4)]
    declared = component_versions(payload)
    if declared:
        rows = [(key, f"{one.version} {one.display_name}".strip()) for key, one in declared.items()]
        lines += ["", "Component Versions:", *_indented(_columns(rows))]
    table = _images(payload, pullspecs, commits, commit_urls, sizes)
    return "\n".join([*lines, "", "Images:", *_indented(_columns(table))])


def _metadata(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("Version:", str(metadata.get("version", "")))]
    rows.append(("Upgrades:", ", ".join(metadata.get("previous") or []) or "<none>"))
    if metadata.get("next"):
        rows.append(("Next:", ", ".join(metadata["next"])))
    return rows


def _images(
    payload: Payload,
    pullspecs: bool,
    commits: bool,
    commit_urls: bool,
    sizes: Mapping[str, Image] | None,
) -> list[tuple[str, ...]]:
    if sizes is not None:
        return _sizes(payload, sizes)
    if commits or commit_urls:
        rows: list[tuple[str, ...]] = [("NAME", "COMMIT") if commit_urls else
                                       ("NAME", "REPO", "COMMIT")]  # fmt: skip
        for tag in payload.stream.tags:
            source, commit = tag.annotations.get(SOURCE, ""), tag.annotations.get(COMMIT, "")
            if commit_urls:
                rows.append((tag.name, commit_url(source, commit)))
            else:
                rows.append((tag.name, source, commit))
        return rows
    if pullspecs:
        return [("NAME", "PULL SPEC"), *((tag.name, tag.pullspec) for tag in payload.stream.tags)]
    return [
        ("NAME", "DIGEST"),
        *((tag.name, tag.pullspec.rpartition("@")[2]) for tag in payload.stream.tags),
    ]


def _sizes(payload: Payload, images: Mapping[str, Image]) -> list[tuple[str, ...]]:
    """Sizes, and what each image adds to those before: layers are shared."""
    seen: set[str] = set()
    rows: list[tuple[str, ...]] = [("NAME", "LAYERS", "SIZE MB", "UNIQUE MB")]
    for tag in payload.stream.tags:
        if tag.name not in images:
            continue
        layers = images[tag.name].manifest.layers
        fresh = sum(int(one["size"]) for one in layers if one["digest"] not in seen)
        seen |= {str(one["digest"]) for one in layers}
        rows.append(
            (tag.name, str(len(layers)), f"{images[tag.name].size / 1e6:.1f}", f"{fresh / 1e6:.1f}")
        )
    total = {
        str(one["digest"]): int(one["size"])
        for image in images.values() for one in image.manifest.layers
    }  # fmt: skip
    return [*rows, ("all", str(len(total)), "", f"{sum(total.values()) / 1e6:.1f}")]


def commit_url(source: str, commit: str) -> str:
    """The page of a commit, for sources kept on the usual hosts."""
    if not source or not commit:
        return ""
    return f"{source.removesuffix('.git').rstrip('/')}/commit/{commit}"


def diff_json(old: Payload, new: Payload) -> dict[str, Any]:
    """What differs between two releases, as `oc adm release info A B -o json` has it."""
    import base64

    images, files = changed_images(old, new), changed_files(old, new)

    def reference(payload: Payload, name: str) -> Any:
        tags = payload.raw_references.get("spec", {}).get("tags", [])
        return next((tag for tag in tags if tag.get("name") == name), None)

    def content(payload: Payload, name: str) -> str | None:
        file = payload.manifests.get(name)
        return base64.b64encode(file.data).decode() if file else None

    return {
        "from": to_json(old),
        "to": to_json(new),
        "changedImages": {
            name: {"name": name, "from": reference(old, name), "to": reference(new, name)}
            for name in images
        },
        "changedManifests": {
            name: {"filename": name, "from": content(old, name), "to": content(new, name)}
            for name in files
        },
    }


def changed_images(old: Payload, new: Payload) -> list[str]:
    """Names of images that came, went or changed."""
    before = {tag.name: tag.pullspec.rpartition("@")[2] for tag in old.stream.tags}
    after = {tag.name: tag.pullspec.rpartition("@")[2] for tag in new.stream.tags}
    return sorted(n for n in {*before, *after} if before.get(n) != after.get(n))


def changed_files(old: Payload, new: Payload) -> list[str]:
    """Names of manifests that came, went or changed."""
    before, after = old.manifests, new.manifests
    return sorted(
        name for name in {*before, *after}
        if name not in before or name not in after or before[name].data != after[name].data
    )  # fmt: skip


def diff_text(old: Payload, new: Payload) -> str:
    """The difference for people."""
    previous = new.metadata.get("previous") or []
    rows: list[tuple[str, ...]] = [
        ("", "FROM", "TO"),
        ("Name:", old.version, new.version),
        ("Digest:", old.digest[:19], new.digest[:19]),
        ("Manifests:", str(len(old.manifests)), str(len(new.manifests))),
        ("Images:", str(len(old.stream.tags)), str(len(new.stream.tags))),
        ("Upgrade From:", "", "Yes" if old.version in previous else "No"),
    ]
    lines = _columns(rows)
    changed: dict[str, list[str]] = {"added": [], "removed": [], "rebuilt": [], "changed": []}
    for name in changed_images(old, new):
        changed[_how(old, new, name)].append(name)
    for how, names in changed.items():
        if names:
            lines += ["", f"Images {how}:", *_indented(names)]
    files = changed_files(old, new)
    if files:
        lines += ["", "Manifests that differ:"]
        for name in files:
            sign = "+" if name not in old.manifests else "-" if name not in new.manifests else "~"
            lines.append(f"  {sign} {name}")
    if not files and not any(changed.values()):
        lines += ["", "The releases hold the same images and manifests."]
    return "\n".join(lines)


def _how(old: Payload, new: Payload, name: str) -> str:
    before, after = old.stream.find(name), new.stream.find(name)
    if before is None:
        return "added"
    if after is None:
        return "removed"
    commits = before.annotations.get(COMMIT), after.annotations.get(COMMIT)
    return "rebuilt" if commits[0] and commits[0] == commits[1] else "changed"


def render(payload: Payload, form: str, images: Mapping[str, Image] | None = None) -> str:
    """One of the forms of -o: json, name, pullspec, digest."""
    if form == "json":
        return json.dumps(to_json(payload, images), indent=2)
    return {"name": payload.version, "pullspec": str(payload.ref), "digest": payload.digest}[form]


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, every column as wide as its widest cell."""
    widths: dict[int, int] = {}
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths.get(column, 0), len(cell))
    return [
        "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]


def _indented(lines: Iterable[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]
