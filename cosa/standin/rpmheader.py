"""RPM's header structure: typed, indexed values sealed by a region.

Source of the format: docs/manual/format_header.md and format_v4.md of RPM.
"""

from __future__ import annotations

from collections.abc import Sequence

from cosa.core.errors import CosaError, ExitClass

MAGIC = bytes.fromhex("8eade80100000000")
CHAR, INT8, INT16, INT32, INT64, STRING, BIN, STRING_ARRAY, I18N = range(1, 10)
_WIDTH = {INT8: 1, INT16: 2, INT32: 4, INT64: 8}
REGION_SIGNATURES, REGION_IMMUTABLE = 62, 63


class Header:
    """Collects tags; `encode()` gives the bytes, the same whatever the order of adding."""

    def __init__(self, region: int) -> None:
        self._region = region
        self._tags: dict[int, tuple[int, int, bytes]] = {}

    def text(self, tag: int, value: str) -> None:
        """A STRING."""
        self._tags[tag] = (STRING, 1, _chars(value) + b"\0")

    def i18n(self, tag: int, value: str) -> None:
        """A translatable text; the one locale is C."""
        self._tags[tag] = (I18N, 1, _chars(value) + b"\0")

    def texts(self, tag: int, values: Sequence[str]) -> None:
        """A STRING_ARRAY; nothing is written for an empty one."""
        if values:
            self._tags[tag] = (
                STRING_ARRAY, len(values), b"".join(_chars(value) + b"\0" for value in values),
            )  # fmt: skip

    def ints(self, tag: int, values: Sequence[int], kind: int = INT32) -> None:
        """An array of unsigned numbers; nothing is written for an empty one."""
        if values:
            width = _WIDTH[kind]
            self._tags[tag] = (kind, len(values), b"".join(v.to_bytes(width) for v in values))

    def raw(self, tag: int, value: bytes) -> None:
        """A BIN."""
        self._tags[tag] = (BIN, len(value), value)

    def encode(self) -> bytes:
        """Magic, index and data; the region's trailer stands at the end of the data."""
        index, data = b"", bytearray()
        for tag, (kind, count, value) in sorted(self._tags.items()):
            data += b"\0" * (-len(data) % _WIDTH.get(kind, 1))
            index += _entry(tag, kind, len(data), count)
            data += value
        size = 16 * (len(self._tags) + 1)
        index = _entry(self._region, BIN, len(data), 16) + index
        # The trailer points back over the whole index, hence the negative offset.
        data += _entry(self._region, BIN, (-size) & 0xFFFFFFFF, 16)
        return MAGIC + (size // 16).to_bytes(4) + len(data).to_bytes(4) + index + bytes(data)


def _entry(tag: int, kind: int, offset: int, count: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in (tag, kind, offset, count))


def _chars(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise CosaError(
            "standin/text",
            f"a text with a NUL cannot stand in an RPM header: {value[:60]!r}",
            exit_class=ExitClass.UNTRUSTED,
        )
    return raw
