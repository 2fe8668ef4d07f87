"""One RPM into the package cache: its files as OSTree objects, its commit, its index.

The cache is a `bare` repository: an object's inode has the mode and the
capabilities the package wants, so that a hard link is all a checkout needs
(docs/adr/compose-package-cache.md). Owners other than root get their numbers only in
the tree that has the accounts; until then the object is root's and loses its
set-id bits.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import rpm

from cosa.compose import translate
from cosa.compose.pkgindex import Entry, PackageIndex
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import ostree
from cosa.tools.rpmfile import PayloadEntry, RpmReader
from cosa.tools.rpmheader import QFORMAT, RpmFile, Scriptlet, capability_xattr, refuse, sound, text

# Part of every cached import's identity: raise it whenever an import comes out differently.
VERSION = 5

_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Options:
    """Treefile keys that change what an import looks like."""

    readonly_executables: bool = False
    ima: bool = False
    ignore_devices: bool = True

    def key(self) -> str:
        """Distinguishes imports made with different options, and by different importers."""
        flags = (self.readonly_executables, self.ima, self.ignore_devices)
        return f"{VERSION}:" + "".join("01"[flag] for flag in flags)


def import_rpm(
    repo: ostree.Repo, writer: ostree.ObjectWriter, path: Path, digest: str, options: Options
) -> tuple[str, PackageIndex]:
    """Import a verified RPM; its commit (no ref points at it yet) and index.

    Raises what `RpmReader.payload` does, `import/device` for a device node when
    `ignore-devices` is off, `import/capability` for capabilities that make no sense.
    """
    with RpmReader(path) as reader:
        entries = tuple(_entries(reader, writer, options))
        with sound(path.name):
            index = PackageIndex(
                name=reader.package.name,
                nevra=reader.package.nevra,
                digest=digest,
                entries=entries,
                scriptlets=tuple(_settle(s, reader.header, path.name) for s in reader.scriptlets),
                requires=_names(reader.header[rpm.RPMTAG_REQUIRENAME]),
                provides=_names(reader.header[rpm.RPMTAG_PROVIDENAME]),
            )
            built = int(reader.header[rpm.RPMTAG_BUILDTIME] or 0)
    metadata = ostree.variant(
        "a{sv}",
        {
            "rpmostree.nevra": ostree.variant("s", index.nevra),
            "cosa.import": ostree.variant("s", f"{options.key()}:{digest}"),
            "cosa.index": ostree.byte_variant(index.to_json()),
        },
    )
    # No transaction: many workers do this at once, and no ref is set here.
    try:
        tree = _tree(repo, index)
    except ostree.error() as err:
        refuse("rpm/path", path.name, f"its paths do not fit together ({err})")
    return repo.write_commit(tree, metadata, timestamp=built), index


def cached(repo: ostree.Repo, commit: str, digest: str, options: Options) -> PackageIndex | None:
    """The index of an earlier import, if it was made from this RPM in this way."""
    metadata = repo.commit_metadata(commit)
    made = metadata.lookup_value("cosa.import", None)
    index = metadata.lookup_value("cosa.index", None)
    if made is None or index is None or made.get_string() != f"{options.key()}:{digest}":
        return None
    return PackageIndex.from_json(index.get_data_as_bytes().get_data())


def _entries(reader: RpmReader, writer: ostree.ObjectWriter, options: Options) -> Iterator[Entry]:
    with sound(reader.path.name):
        colors = reader.header[rpm.RPMTAG_FILECOLORS] or [0] * len(reader.files)
        ima = reader.header[rpm.RPMTAG_FILESIGNATURES] if options.ima else None
        extra = {
            file.path: (color, ima[number] if ima else "")
            for number, (file, color) in enumerate(zip(reader.files, colors, strict=True))
        }
    sums = _contents(reader, writer, options, {path: sig for path, (_, sig) in extra.items()})
    for file in reader.files:
        if file.path not in sums:
            continue  # %ghost, a device, or listed but not shipped
        yield Entry(
            path=file.path.strip("/"),
            mode=_mode(file, options),
            user=file.user,
            group=file.group,
            flags=file.flags,
            color=extra[file.path][0],
            size=file.size if stat.S_ISREG(file.mode) else 0,
            caps=file.caps.strip(),
            csum=sums[file.path],
            target=file.linkto if stat.S_ISLNK(file.mode) else "",
        )


def _contents(
    reader: RpmReader, writer: ostree.ObjectWriter, options: Options, ima: dict[str, str]
) -> dict[str, str]:
    """Write every shipped file's object; path to checksum, "" for directories."""
    sums: dict[str, str] = {}
    waiting: dict[int, list[str]] = {}  # names of a hard-linked file whose data is still to come
    for member in reader.payload():
        file = member.file
        kind = stat.S_IFMT(file.mode)
        if kind == stat.S_IFDIR:
            sums[file.path] = ""
        elif kind == stat.S_IFLNK:
            meta = ostree.Meta(stat.S_IFLNK | 0o777, target=file.linkto)
            sums[file.path] = writer.write(meta)
        elif kind == stat.S_IFREG:
            names = waiting.setdefault(file.inode, [])
            names.append(file.path)
            if member.has_data:
                csum = _write(writer, _meta(file, options, ima[file.path], reader), member)
                sums.update(dict.fromkeys(waiting.pop(file.inode), csum))
        elif not options.ignore_devices:
            raise CosaError(
                "import/device",
                f"{reader.package.nevra} ships the device node {file.path}, "
                "which a commit cannot hold",
                fix="set `ignore-devices: true` in the treefile, or exclude the package",
            )
    return sums


def _write(writer: ostree.ObjectWriter, meta: ostree.Meta, member: PayloadEntry) -> str:
    if member.size <= _IN_MEMORY:
        return writer.write(meta, list(_chunks(member.stream)))
    return writer.write_stream(meta, _chunks(member.stream))


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _mode(file: RpmFile, options: Options) -> int:
    mode = file.mode
    if stat.S_ISDIR(mode):
        return mode | 0o200  # a directory nobody may write to could not be filled
    if options.readonly_executables and stat.S_ISREG(mode) and mode & 0o111:
        return mode & ~0o222
    return mode


def _meta(file: RpmFile, options: Options, ima: str, reader: RpmReader) -> ostree.Meta:
    xattrs = []
    if file.caps.strip():
        xattrs.append((b"security.capability", capabilities(file.caps, reader.package.nevra)))
    if ima:
        xattrs.append((b"security.ima", bytes.fromhex(ima)))
    mode = _mode(file, options)
    if file.user != "root" or file.group != "root":
        mode &= ~0o6000
    return ostree.Meta(mode, xattrs=tuple(sorted(xattrs)))


def capabilities(caps: str, nevra: str) -> bytes:
    """The xattr for a header's capability text. Raises `import/capability` (class UNTRUSTED)."""
    try:
        return capability_xattr(caps)
    except ValueError as err:
        raise CosaError(
            "import/capability",
            f"{nevra} has file capabilities that cannot be understood: {caps!r}",
            why=str(err),
            exit_class=ExitClass.UNTRUSTED,
        ) from err


def _settle(script: Scriptlet, header: Any, what: str) -> Scriptlet:
    """Fill in now what only the header knows (`%post -q`).

    Macros (`%post -e`) may run programs, so they are expanded in the sandbox, when the script is
    run. For the same reason a query format that asks for it is refused.
    """
    if not script.flags & QFORMAT:
        return script
    if ":expand" in script.body:
        refuse("rpm/script", what, f"its %{script.kind} script wants macros expanded by a query")
    return replace(script, body=text(header.format(script.body)))


def _names(values: Any) -> tuple[str, ...]:
    return tuple(sorted({text(value) for value in values or ()}))


def _tree(repo: ostree.Repo, index: PackageIndex) -> ostree.TreeNode:
    """The package's commit: its files where a finished tree has them."""
    default = ostree.Meta(stat.S_IFDIR | 0o755)
    root = ostree.TreeNode()
    root.describe(repo, default)
    nodes = {"": root}

    def folder(path: str) -> ostree.TreeNode:
        if path not in nodes:
            above, _, name = path.rpartition("/")
            nodes[path] = folder(above).folder(name)
            nodes[path].describe(repo, default)
        return nodes[path]

    for entry in index.entries:
        placement = translate.place("/" + entry.path, entry.mode, index.name)
        if placement.fate is not translate.Fate.KEEP:
            continue
        path = translate.committed(placement.path)
        if path.startswith("var/") and not entry.is_dir:
            continue  # as rpm-ostree: /var is the machine's
        if entry.is_dir:
            folder(path).describe(repo, ostree.Meta(stat.S_IFDIR | stat.S_IMODE(entry.mode)))
        else:
            above, _, name = path.rpartition("/")
            folder(above).file(name, entry.csum)
    return root


def open_cache(path: Path) -> ostree.Repo:
    """The package cache's repository, made on first use."""
    repo = ostree.Repo.ensure(path, "bare")
    path.chmod(0o700)  # its objects are set-uid programs, too
    # One syncfs before the refs are set (see `finish`) instead of one per package.
    repo.raw.set_disable_fsync(True)
    return repo


def finish(repo: ostree.Repo, refs: dict[str, str]) -> None:
    """Make imports durable, then visible: until now nothing pointed at them."""
    if refs:
        ostree.sync_filesystem(repo.path)
        with repo.transaction():
            repo.set_refs(refs)
