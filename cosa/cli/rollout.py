"""`rollout start|status|halt|resume|finish|barrier|dead-end`: who is sent where, and when."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli.command import Context, command
from cosa.cli.parse import usage_error
from cosa.cli.streams import needed

if TYPE_CHECKING:
    from cosa.streams.documents import Updates
    from cosa.streams.edit import Draft

_META = {"releases": "FILE", "audit": "FILE", "reason": "URL"}
_HELP = {
    "updates": "the stream's updates JSON, which is changed",
    "version": "the release",
    "releases": "the stream's releases.json",
    "audit": "where changes are noted; default NAME.audit.jsonl beside the updates JSON",
    "dry-run": "only say what would happen",
    "allow-downgrade": "though nodes would go to an older major version or older packages",
    "reason": "a page that says why",
}
_COMMON = ("updates", "version", "releases", "audit", "dry-run")


def _help(*names: str, **more: str) -> dict[str, str]:
    """What all changes say of their options, and these."""
    return {name: _HELP[name] for name in (*_COMMON, *names)} | {
        key.replace("_", "-"): text for key, text in more.items()
    }


def _change(  # the options all changes have, and the change itself
    verb: str, edit: Callable[[Draft], None], *, updates: str, version: str, releases: str,
    audit: str, dry_run: bool, allow_downgrade: bool = False, reason: str = "",
) -> None:  # fmt: skip
    from cosa.core import clock
    from cosa.streams import documents, publish, simulate
    from cosa.streams.edit import Draft

    needed(f"rollout {verb}", releases=releases)
    path = Path(updates).resolve()
    log = Path(audit) if audit else publish.audit_path(path)
    with nullcontext(-1) if dry_run or not path.exists() else publish.exclusive(log) as record:
        was = path.read_bytes() if path.exists() else b""
        index, said, doc = documents.read(Path(releases), path)
        draft = Draft.of(index, said, doc, clock.now())
        edit(draft)
        after = draft.finished()
        found = simulate.outcomes(index, said, after)
        simulate.refuse(
            found, dead_end=version if verb == "dead-end" else "", allow_downgrade=allow_downgrade
        )
        print(f"{verb} {version}:")
        marks = after.marks().get(version)
        rollout = marks.rollout if marks else None
        if rollout and verb in ("start", "resume", "barrier"):
            print("\n".join(simulate.curve(rollout, draft.now)))
        print("\n".join(simulate.report(found, version, dead_end=verb == "dead-end")))
        if dry_run:
            print("nothing is written")
            return
        told: dict[str, Any] = {
            "verb": verb,
            "version": version,
            **({"reason": reason} if reason else {}),
        }
        if verb == "halt":
            told |= _came_to(said, version, draft.now)
        publish.write(path, was, draft.value, record, told)
        print(f"written: {updates}, noted in {log}")


def _came_to(said: Updates, version: str, now: int) -> dict[str, Any]:
    """How far a rollout is, for the log: what `resume` goes on from."""
    from cosa.streams.graph import open_share

    rollout = said.marks()[version].rollout
    assert rollout is not None  # else there was nothing to halt
    # One that has not begun would go on with what it was to begin with.
    share = open_share(rollout, max(now, rollout.start_epoch or 0))
    return {"share": float(share), "rollout": rollout.model_dump(mode="json")}


def _reason(verb: str, reason: str) -> None:
    needed(f"rollout {verb}", reason=reason)
    if not reason.startswith(("https://", "http://")):
        raise usage_error("option-value", f"--reason is the address of a page, not {reason!r}")


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META | {"start": "TIME", "hours": "N", "share": "S"},
    help=_help(
        "allow-downgrade",
        start="when it begins: 2026-11-24T14:00Z, or seconds since 1970",
        hours="until it is open to all; default 48",
        share="the share of nodes it opens with, 0 to 1",
        replace="start a rollout anew that exists",
        short="though it takes less than 24 hours",
    ),
)
def rollout_start(
    _c: Context,
    updates: str,
    version: str,
    *,
    start: str = "",
    releases: str = "",
    hours: int = 48,
    share: str = "0",
    replace: bool = False,
    short: bool = False,
    allow_downgrade: bool = False,
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Roll a release out: open it to more and more nodes."""
    from cosa.streams import edit, moment, wariness

    needed("rollout start", start=start, releases=releases)
    opens = wariness.number(share)
    if opens is None:
        raise usage_error("option-value", f"--share is a number from 0 to 1, not {share!r}")
    plan = edit.Plan(moment.parse(start, "--start"), hours * 60, opens, replace, short)
    _change(
        "start", lambda draft: edit.start(draft, version, plan), updates=updates, version=version,
        releases=releases, audit=audit, dry_run=dry_run, allow_downgrade=allow_downgrade,
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META,
    help=_help(with_barrier="take the release's barrier back, too"),
)
def rollout_halt(
    _c: Context,
    updates: str,
    version: str,
    *,
    releases: str = "",
    with_barrier: bool = False,
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Take a rollout back: nobody is offered the release any more."""
    from cosa.streams import edit

    _change(
        "halt", lambda draft: edit.halt(draft, version, with_barrier=with_barrier),
        updates=updates, version=version, releases=releases, audit=audit, dry_run=dry_run,
        allow_downgrade=True,  # nobody moves who did not before
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META | {"start": "TIME", "hours": "N"},
    help=_help(
        start="when it goes on: 2026-11-24T14:00Z, or seconds since 1970",
        hours="until it is open to all; default: as fast as before",
    ),
)
def rollout_resume(
    _c: Context,
    updates: str,
    version: str,
    *,
    start: str = "",
    releases: str = "",
    hours: int = 0,
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Go on with a rollout that was halted, from the share it had come to."""
    from cosa.streams import edit, moment, publish

    needed("rollout resume", start=start, releases=releases)
    log = Path(audit) if audit else publish.audit_path(Path(updates).resolve())
    plan = edit.resumed(*publish.halted(log, version), moment.parse(start, "--start"), hours)
    _change(
        "resume", lambda draft: edit.start(draft, version, plan), updates=updates, version=version,
        releases=releases, audit=audit, dry_run=dry_run,
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META,
    help=_help(early="open it at once to all that are left"),
)
def rollout_finish(
    _c: Context,
    updates: str,
    version: str,
    *,
    releases: str = "",
    early: bool = False,
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Note that a rollout has ended: the release stays open to all."""
    from cosa.streams import edit

    _change(
        "finish", lambda draft: edit.finish(draft, version, early=early),
        updates=updates, version=version, releases=releases, audit=audit, dry_run=dry_run,
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META,
    help=_help("reason", "allow-downgrade"),
)
def rollout_barrier(
    _c: Context,
    updates: str,
    version: str,
    *,
    reason: str = "",
    releases: str = "",
    allow_downgrade: bool = False,
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Make older releases pass through this one."""
    from cosa.streams import edit

    _reason("barrier", reason)
    _change(
        "barrier", lambda draft: edit.barrier(draft, version, reason), reason=reason,
        updates=updates, version=version, releases=releases, audit=audit, dry_run=dry_run,
        allow_downgrade=allow_downgrade,
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates", "version"],
    metavar=_META,
    help=_help("reason"),
)
def rollout_dead_end(
    _c: Context,
    updates: str,
    version: str,
    *,
    reason: str = "",
    releases: str = "",
    audit: str = "",
    dry_run: bool = False,
) -> None:
    """Offer nodes on a release no further update."""
    from cosa.streams import edit

    _reason("dead-end", reason)
    _change(
        "dead-end", lambda draft: edit.dead_end(draft, version, reason), reason=reason,
        updates=updates, version=version, releases=releases, audit=audit, dry_run=dry_run,
    )  # fmt: skip


@command(
    group="Streams",
    positional=["updates"],
    short={"output": "o"},
    metavar={"releases": "FILE", "at": "TIME", "output": "FORM"},
    help={
        "updates": "the stream's updates JSON",
        "releases": "the stream's releases.json",
        "at": "the time; default now",
        "output": "text or json",
    },
)
def rollout_status(
    _c: Context, updates: str, *, releases: str = "", at: str = "", output: str = "text"
) -> None:
    """Say what is being rolled out, how far it is, and which releases are barriers or dead ends."""
    from cosa.core import clock, events
    from cosa.streams import documents, moment, status

    needed("rollout status", releases=releases)
    if output not in ("text", "json"):
        raise usage_error("option-value", f"-o knows no {output!r}", fix="choose text or json")
    now = moment.parse(at, "--at") if at else clock.now()
    index, said, doc = documents.read(Path(releases), Path(updates))
    for doubt in documents.doubts(index, said, doc):
        events.warn(f"{doubt.where}: {doubt.what}" if doubt.where else doubt.what)
    rows = status.rows(said, now)
    print(json.dumps(rows, indent=2) if output == "json" else status.text(rows))
