"""Makes cpio archives of the `newc` form, also ones no tool would make."""

import os
import stat

DIR, FILE, LINK, CHAR = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, 0o20600


def entry(name, mode=FILE, data=b"", *, ino=0, links=1):
    raw = os.fsencode(name) + b"\0"
    fields = (ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + raw
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def archive(*entries):
    return b"".join(entries) + entry("TRAILER!!!") + bytes(512)
