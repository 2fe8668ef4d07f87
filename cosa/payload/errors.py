"""The words `oc adm release` uses for what goes wrong; scripts and people look for them."""

from __future__ import annotations

from cosa.core.errors import CosaError, ExitClass


def refused(
    code: str, what: str, *, why: str = "", fix: str = "", untrusted: bool = False
) -> CosaError:
    """An input of a payload that cannot be taken."""
    return CosaError(
        f"payload/{code}", what, why=why, fix=fix,
        exit_class=ExitClass.UNTRUSTED if untrusted else ExitClass.INPUT,
    )  # fmt: skip
