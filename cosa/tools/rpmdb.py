"""The RPM database of a tree, written by librpm from headers alone, equal in every run.

librpm keeps macros and paths in the process, so these functions belong into a
process of their own (cosa.compose.workers).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rpm

from cosa.core.errors import CosaError, ExitClass
from cosa.tools.rpmfile import quiet, read_header
from cosa.tools.rpmheader import sound


def install_order(rpms: Mapping[str, Path], scratch: Path) -> list[str]:
    """The names (keys of `rpms`) in the order in which rpm would install the files."""
    transaction = _transaction(scratch, "order")
    for name, path in rpms.items():
        with path.open("rb") as file, sound(path.name):
            transaction.addInstall(read_header(file, path), name, "i")
    with quiet():
        transaction.order()
    return [str(element.Key()) for element in transaction]


def write(
    rpms: Sequence[Path], out: Path, scratch: Path, *, epoch: int, backend: str = "sqlite"
) -> None:
    """Write a database of installed packages below `out`, which must be an empty folder.

    `epoch` becomes INSTALLTIME and INSTALLTID of all of them. Raises
    `rpmdb/failed` with rpm's own words.
    """
    # librpm takes the time of installation from here (rpmtsCreate).
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    rpm.addMacro("_db_backend", backend)
    transaction = _transaction(scratch, "write", out)
    transaction.initDB()
    for path in rpms:
        with path.open("rb") as file, sound(path.name):
            transaction.addInstall(read_header(file, path), str(path), "i")
    transaction.setFlags(
        rpm.RPMTRANS_FLAG_JUSTDB | rpm.RPMTRANS_FLAG_NOSCRIPTS | rpm.RPMTRANS_FLAG_NOTRIGGERS
        | rpm.RPMTRANS_FLAG_NOPLUGINS
    )  # fmt: skip
    transaction.setProbFilter(
        rpm.RPMPROB_FILTER_DISKSPACE | rpm.RPMPROB_FILTER_DISKNODES | rpm.RPMPROB_FILTER_IGNOREOS
        | rpm.RPMPROB_FILTER_IGNOREARCH | rpm.RPMPROB_FILTER_REPLACEOLDFILES
        | rpm.RPMPROB_FILTER_REPLACENEWFILES | rpm.RPMPROB_FILTER_REPLACEPKG
    )  # fmt: skip
    opened: list[int] = []

    def callback(what: int, amount: int, total: int, key: object, user: object) -> int | None:
        del amount, total, user
        if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
            opened.append(os.open(str(key), os.O_RDONLY | os.O_CLOEXEC))
            return opened[-1]
        if what == rpm.RPMCALLBACK_INST_CLOSE_FILE:
            os.close(opened.pop())
        return None

    with quiet():
        problems = transaction.run(callback, "")
    transaction.closeDB()
    if problems:
        raise CosaError(
            "rpmdb/failed",
            "the RPM database of the tree cannot be written",
            why="\n".join(str(problem) for problem in problems),
            exit_class=ExitClass.STEP,
        )
    settle(out)


def settle(out: Path) -> None:
    """Bring a database to its one canonical form: no journals, no locks, pages in order."""
    database = out / "rpmdb.sqlite"
    if database.exists():
        connection = sqlite3.connect(database)
        try:
            connection.execute("PRAGMA journal_mode=DELETE").close()
            connection.execute("VACUUM").close()
        finally:
            connection.close()
    for name in (".rpm.lock", ".dbenv.lock", "rpmdb.sqlite-shm", "rpmdb.sqlite-wal"):
        (out / name).unlink(missing_ok=True)
    for path in out.iterdir():
        path.chmod(0o644)


def version() -> str:
    """The version of librpm."""
    return str(rpm.__version__)


def _transaction(scratch: Path, name: str, dbpath: Path | None = None) -> Any:
    folder = dbpath or scratch / f"rpmdb-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    rpm.addMacro("_dbpath", str(folder))
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES | rpm.RPMVSF_MASK_NODIGESTS)
    transaction.setKeyring(rpm.keyring())
    return transaction
