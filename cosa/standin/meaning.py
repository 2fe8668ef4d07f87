"""Whether every versioned dependency of a repository means the same to RPM as to dpkg.

Two things could differ. The order of two versions: `+` and `.` weigh
differently. And a Provides without a version: dpkg lets it satisfy unversioned
relations only, RPM any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cosa.core.errors import Problems
from cosa.standin import evr
from cosa.standin.control import Control, Relation

# Which outcomes of a comparison fulfil an operator.
_HOLDS = {"<<": (-1,), "<=": (-1, 0), "=": (0,), ">=": (0, 1), ">>": (1,)}


@dataclass(frozen=True)
class Provider:
    """Who offers a name; `version` is empty for a Provides without one."""

    package: str
    version: str


def check(controls: Mapping[str, Control]) -> dict[str, tuple[str, ...]]:
    """Clauses to leave out by package: Conflicts that only RPM would see.

    A versioned Conflicts or Breaks that meets a name offered without version
    by another package is no conflict to dpkg; the RPM must not carry it.
    Raises `standin/meaning` with every clause whose meaning would change in a
    way that leaving out cannot mend.
    """
    offers = providers(controls)
    problems = Problems()
    dropped: dict[str, tuple[str, ...]] = {}
    for control in controls.values():
        for clause in control.relations("Pre-Depends", "Depends", "Conflicts", "Breaks"):
            for relation in clause:
                _check_order(control, relation, offers, problems)
        for clause in control.relations("Pre-Depends", "Depends"):
            _check_requirement(control, clause, offers, problems)
        mended = tuple(sorted(set(_only_rpm(control, offers))))
        if mended:
            dropped[control.name] = mended
    problems.raise_if_any("some dependencies would change their meaning in RPM's eyes")
    return dropped


def providers(controls: Mapping[str, Control]) -> dict[str, list[Provider]]:
    """Every name on offer, with who offers it in which version."""
    offers: dict[str, list[Provider]] = {}
    for control in controls.values():
        offers.setdefault(control.name, []).append(Provider(control.name, control.version))
        for clause in control.relations("Provides"):
            offer = Provider(control.name, clause[0].version)
            offers.setdefault(clause[0].name, []).append(offer)
    return offers


def _check_order(
    control: Control, relation: Relation, offers: Mapping[str, list[Provider]], problems: Problems
) -> None:
    if not relation.operator:
        return
    holds = _HOLDS[relation.operator]
    wanted = evr.convert(relation.version)
    for offer in offers.get(relation.name, ()):
        if not offer.version:
            continue
        dpkg = evr.dpkg_compare(offer.version, relation.version) in holds
        rpm = evr.rpm_compare(evr.convert(offer.version), wanted) in holds
        if dpkg != rpm:
            problems.add(
                "standin/meaning",
                f"package {control.name}: '{relation}' against {offer.package} {offer.version} "
                f"is {dpkg} to dpkg and {rpm} to RPM",
                why="the two order these versions differently",
                fix="leave one of the packages out",
            )


def _check_requirement(
    control: Control,
    clause: tuple[Relation, ...],
    offers: Mapping[str, list[Provider]],
    problems: Problems,
) -> None:
    """A requirement RPM may fill with an unversioned Provides must have a true answer too."""
    if not any(_unversioned(control, relation, offers) for relation in clause):
        return
    if not any(_satisfied(relation, offers) for relation in clause):
        problems.add(
            "standin/meaning",
            f"package {control.name}: '{' | '.join(map(str, clause))}' is met only by a "
            "Provides without version, which dpkg would not accept",
        )


def _satisfied(relation: Relation, offers: Mapping[str, list[Provider]]) -> bool:
    for offer in offers.get(relation.name, ()):
        if not relation.operator:
            return True
        order = evr.dpkg_compare(offer.version, relation.version) if offer.version else None
        if order is not None and order in _HOLDS[relation.operator]:
            return True
    return False


def _only_rpm(control: Control, offers: Mapping[str, list[Provider]]) -> list[str]:
    return [
        str(clause[0])
        for clause in control.relations("Conflicts", "Breaks")
        if _unversioned(control, clause[0], offers) and not _satisfied(clause[0], offers)
    ]


def _unversioned(
    control: Control, relation: Relation, offers: Mapping[str, list[Provider]]
) -> bool:
    """Whether another package offers the name of a versioned relation without a version."""
    return bool(relation.operator) and any(
        not offer.version and offer.package != control.name
        for offer in offers.get(relation.name, ())
    )
