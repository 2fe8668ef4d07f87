"""Why each step of a build ran or was taken over: its record compared with the build's before.

Nothing is written down for this while building: the ids say what was taken over, the inputs
say what differs. The same comparison tells of a build that has not begun yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json
from cosa.model.meta import Meta
from cosa.pipeline import changes
from cosa.pipeline.build import DEFAULT_TARGETS, Options, inputs_now
from cosa.pipeline.changes import Change
from cosa.pipeline.record import Inputs, Record
from cosa.pipeline.workdir import Workdir, basearch

_COMPOSE, _CONTAINER = "compose", "container"
# What people may call a step, beside its own name.
_ALIASES = {"ostree": _CONTAINER, "commit": _COMPOSE, "ociarchive": _CONTAINER}
_SHOWN = 15


@dataclass(frozen=True)
class Step:
    """A step's fate: `outcome` is ran, reused, will run, or would be reused."""

    name: str
    outcome: str
    why: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """All steps of a build; `build` is empty for the next one, `before` without one to compare."""

    build: str
    before: str
    note: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class _Side:
    """A build as far as it matters here: what it was made from and what came out."""

    record: Record
    commit: str


def of_build(workdir: Workdir, build: str = "") -> Explanation:
    """Why the steps of a build (default the latest) ran or not.

    Raises `build/none`, `build/unknown`, and `explain/no-record` for a build of another tool.
    """
    workdir.need_init()
    arch = basearch()
    name = workdir.build(build, arch).parent.name
    this = _side(workdir, name, arch)
    if this is None:
        raise CosaError(
            "explain/no-record",
            f"build {name} does not say what it was made from",
            why="it has no cosa-inputs.json: another tool made it",
            exit_class=ExitClass.USAGE,
        )
    before = this.record.before
    other = _side(workdir, before, arch) if before else None
    note = ""
    if not before:
        note = "it was the first build here"
    elif other is None:
        note = f"build {before}, with which it was compared, is no longer here"
    return Explanation(name, before if other else "", note, tuple(_past(this, other, note)))


def of_next(workdir: Workdir, options: Options | None = None) -> Explanation:
    """What a build begun now would do. Raises what reading the definition and solving raise."""
    inputs, before = inputs_now(workdir, options or Options())
    if before is None:
        note = "there is no build here yet to compare with"
        return Explanation("", "", note, tuple(_all_run(note, inputs)))
    targets = [name for name in before.record.artefacts if name in before.meta.images]
    found = changes.compare(before.record.inputs, inputs)
    steps = list(_future(found, targets or list(DEFAULT_TARGETS)))
    note = "" if found else "nothing changed: no build would be made"
    return Explanation("", before.build, note, tuple(steps))


def _side(workdir: Workdir, name: str, arch: str) -> _Side | None:
    try:
        folder = workdir.build(name, arch)
    except CosaError as err:
        if err.code != "build/unknown":
            raise
        return None
    record = Record.read(folder)
    return _Side(record, Meta.read(folder / "meta.json").ostree_commit) if record else None


def _past(this: _Side, other: _Side | None, note: str) -> Iterator[Step]:
    artefacts = [name for name in this.record.artefacts if name != "oci-manifest"]
    if other is None:
        yield from (Step(name, "ran", note) for name in (_COMPOSE, *map(_name, artefacts)))
        return
    found = changes.compare(other.record.inputs, this.record.inputs)
    same_commit = this.commit == other.commit
    mine = _of_area(found, _COMPOSE)
    why = "" if mine else "it was asked for: nothing that decides it had changed"
    if same_commit:
        yield Step(_COMPOSE, "reused", "nothing that decides it had changed")
    else:
        yield Step(_COMPOSE, "ran", why, mine)
    for name in artefacts:
        mine = _of_area(found, _area(name))
        if other.record.artefacts.get(name) == this.record.artefacts[name]:
            yield Step(_name(name), "reused", "same commit and same inputs")
        elif name not in other.record.artefacts:
            yield Step(_name(name), "ran", f"build {this.record.before} had none", mine)
        else:
            yield Step(_name(name), "ran", "" if same_commit else "the commit is another", mine)


def _future(found: Sequence[Change], targets: Sequence[str]) -> Iterator[Step]:
    mine = _of_area(found, _COMPOSE)
    reason = "nothing that decides it changed"
    yield Step(_COMPOSE, "will run", "", mine) if mine else Step(_COMPOSE, "reused", reason)
    for name in targets:
        if name == "oci-manifest":
            continue
        own = _of_area(found, _area(name))
        if mine or own:
            yield Step(_name(name), "will run", "the commit will be another" if mine else "", own)
        else:
            yield Step(_name(name), "reused", reason)


def _all_run(why: str, inputs: Inputs) -> Iterator[Step]:
    yield Step(_COMPOSE, "will run", f"{why}; {len(inputs[_COMPOSE])} inputs")
    yield from (Step(_name(name), "will run", why) for name in DEFAULT_TARGETS)


def _area(artefact: str) -> str:
    return _CONTAINER if artefact == "ostree" else "image"


def _name(artefact: str) -> str:
    return _CONTAINER if artefact == "ostree" else artefact


def _of_area(found: Sequence[Change], area: str) -> tuple[Change, ...]:
    return tuple(change for change in found if change.area == area)


def only(found: Explanation, step: str) -> Explanation:
    """One step of an explanation. Raises `explain/no-step`, saying which there are."""
    wanted = _ALIASES.get(step, step)
    steps = tuple(each for each in found.steps if each.name == wanted)
    if not steps:
        raise CosaError(
            "explain/no-step",
            f"{f'build {found.build}' if found.build else 'the next build'} has no step '{step}'",
            fix=f"its steps are {', '.join(each.name for each in found.steps)}",
            exit_class=ExitClass.USAGE,
        )
    return Explanation(found.build, found.before, found.note, steps)


def text(found: Explanation) -> list[str]:
    """An explanation for people; of many changes of several steps the first few."""
    head = f"build {found.build}" if found.build else "the next build"
    lines = [f"{head}, compared with {found.before}:" if found.before else f"{head}:"]
    if found.note:
        lines.append(f"  {found.note}")
    width = max((len(step.name) for step in found.steps), default=0)
    for step in found.steps:
        because = f": {step.why}" if step.why and step.why != found.note else ""
        lines.append(f"  {step.name:<{width}}  {step.outcome}{because}")
        shown = step.changes if len(found.steps) == 1 else step.changes[:_SHOWN]
        lines += [f"      {change.text}" for change in shown]
        if len(shown) < len(step.changes):
            more = len(step.changes) - len(shown)
            lines.append(f"      and {more} more: `cosa explain {step.name}` lists them")
    return lines


def to_json(found: Explanation) -> Mapping[str, Json]:
    """An explanation for programs; each change with its area, name, key, old and new value."""
    steps: list[Json] = [
        {
            "step": step.name, "outcome": step.outcome, "why": step.why,
            "changes": [asdict(change) | {"text": change.text} for change in step.changes],
        }
        for step in found.steps
    ]  # fmt: skip
    return {
        "build": found.build or None, "before": found.before or None, "note": found.note,
        "steps": steps,
    }  # fmt: skip
