"""`doctor`: what this machine can do for cosa."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.settings import settings

if TYPE_CHECKING:
    from cosa.pipeline.doctor import Finding


@command(group="Machines", help={"json": "print the findings as JSON"})
def doctor(_c: Context, *, json: bool = False) -> int:
    """Probe this machine by doing: podman, sandboxes, accelerators, disk, registries.

    Each lack is shown with what it costs and how to mend it. Ends with status 6
    when something is missing that cosa cannot work without.
    """
    from cosa.cli.build import first_line
    from cosa.core.errors import ExitClass
    from cosa.pipeline.definition import shared_cache
    from cosa.pipeline.doctor import examine, verdict

    first_line("doctor")
    findings = examine(settings().workdir, shared_cache())
    good = verdict(findings)
    print(as_json(findings, good=good) if json else as_text(findings, good=good))
    return 0 if good else ExitClass.ENVIRONMENT


def as_json(findings: Sequence[Finding], *, good: bool) -> str:
    """`{"ok": bool, "checks": [...]}`; see `cosa.pipeline.doctor.Finding` for a check's keys."""
    import json

    return json.dumps({"ok": good, "checks": [one.as_json() for one in findings]}, indent=2)


def as_text(findings: Sequence[Finding], *, good: bool) -> str:
    """A line for each finding; what a lack costs and its fix below it."""
    width = max((len(one.name) for one in findings if len(one.name) < 28), default=0)
    lines = []
    for one in findings:
        lines.append(f"{one.state:>6}  {one.name:<{width}}  {one.found}")
        for label, text in (("costs", one.cost), ("fix", one.fix)):
            if text:
                lines += textwrap.wrap(
                    text, 96, initial_indent=f"{'':10}{label:<7}", subsequent_indent=" " * 17
                )
    lacks = sum(one.state != "ok" for one in findings)
    if not good:
        lines.append("cosa cannot work here until what is marked broken is mended")
    elif lacks:
        lines.append(f"cosa works here; {lacks} lack{'s' * (lacks > 1)} as listed")
    else:
        lines.append("cosa works here, nothing is lacking")
    return "\n".join(lines)
