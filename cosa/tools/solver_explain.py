"""Why a set of packages cannot be had together, as a person would say it.

libsolv answers with rules: "a needs x", "nothing provides y", "b conflicts with c". Each
problem becomes one sentence about the rule that breaks, and one about how a requested
package leads there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cosa.core.errors import CosaError, Problems
from cosa.tools import solver as solver_module
from cosa.tools.solver_load import bindings

if TYPE_CHECKING:
    from cosa.tools.solver import Universe

_CHAIN = 8  # packages shown between a request and what breaks


def explain(universe: Universe, problems: Sequence[Any]) -> CosaError:
    """One error with a finding per problem. Raises `NeedFilelists` when those could help."""
    return _Explainer(universe).error(problems)


class _Explainer:
    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._solver = bindings().Solver

    def error(self, problems: Sequence[Any]) -> CosaError:
        found = Problems()
        for problem in problems:
            infos = [info for rule in problem.findallproblemrules() for info in rule.allinfos()]
            self._look_for_paths(infos)
            self._one(infos, found)
        told = Problems()
        told.extend(dict.fromkeys(found))
        try:
            told.raise_if_any("the packages asked for cannot be installed together")
        except CosaError as err:
            return err
        return CosaError("resolve/unsolvable", "the packages asked for do not fit together")

    def _look_for_paths(self, infos: Iterable[Any]) -> None:
        """A path nothing provides may be in the full file lists."""
        if self._universe.filelists:
            return
        for info in infos:
            if info.dep is not None and str(info.dep).startswith("/"):
                raise solver_module.NeedFilelists

    def _one(self, infos: Sequence[Any], found: Problems) -> None:
        """Add the finding for the rule that says most."""
        order = {
            self._solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP: self._nothing_provides,
            self._solver.SOLVER_RULE_PKG_CONFLICTS: self._conflict,
            self._solver.SOLVER_RULE_PKG_OBSOLETES: self._conflict,
            self._solver.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES: self._conflict,
            self._solver.SOLVER_RULE_PKG_SAME_NAME: self._conflict,
            self._solver.SOLVER_RULE_PKG_SELF_CONFLICT: self._self_conflict,
            self._solver.SOLVER_RULE_PKG_NOT_INSTALLABLE: self._not_installable,
            self._solver.SOLVER_RULE_PKG_REQUIRES: self._only_others,
        }
        for kind, say in order.items():
            for info in sorted((i for i in infos if i.type == kind), key=_sort_key):
                what, why, fix = say(info)
                trail = self._trail(info.solvable, infos)
                if info.othersolvable is not None:
                    trail += self._trail(info.othersolvable, infos)
                code = {self._nothing_provides: "nothing-provides", self._conflict: "conflict"}
                slug = code.get(say, "unsolvable")
                text = "\n".join(filter(None, (why, *dict.fromkeys(trail))))
                found.add(f"resolve/{slug}", what, self._universe.request.where, why=text, fix=fix)
                return
        text = "; ".join(dict.fromkeys(info.problemstr() for info in infos))
        what = "the packages asked for do not fit together"
        found.add("resolve/unsolvable", what, self._universe.request.where, why=text)

    def _nothing_provides(self, info: Any) -> tuple[str, str, str]:
        what = f"{info.solvable} needs {info.dep}, which nothing provides"
        hidden = self._hidden_providers(info.dep)
        if hidden:
            return (
                what.replace("which nothing provides", "and every package with it is hidden"),
                ("; ".join(hidden)),
                "change what hides it",
            )
        near = self._other_versions(info.dep)
        fix = "add the repository that has it, or remove what needs it"
        return what, f"there is only {near}" if near else "", fix

    def _conflict(self, info: Any) -> tuple[str, str, str]:
        if info.type == self._solver.SOLVER_RULE_PKG_SAME_NAME:
            what = f"{info.solvable} and {info.othersolvable} cannot both be installed"
            return what, "they are versions of one package", "ask for one of them"
        verb = "conflicts with"
        if info.type != self._solver.SOLVER_RULE_PKG_CONFLICTS:
            verb = "replaces (obsoletes)"
        what = f"{info.solvable} {verb} {info.othersolvable}"
        why = f"it names {info.dep}" if str(info.dep) != info.othersolvable.name else ""
        return what, why, "remove one of the two, or what asks for it"

    def _self_conflict(self, info: Any) -> tuple[str, str, str]:
        what = f"{info.solvable} conflicts with {info.dep}, which it provides itself"
        return what, "", "the package is broken: take another version"

    def _not_installable(self, info: Any) -> tuple[str, str, str]:
        reason = self._universe.why_hidden(info.solvable)
        if not reason:
            arch = self._universe.request.basearch
            reason = f"its architecture {info.solvable.arch} does not fit {arch}"
        return f"{info.solvable} cannot be used", reason, "change what hides it"

    def _only_others(self, info: Any) -> tuple[str, str, str]:
        makers = self._universe.pool.whatprovides(info.dep_id)
        names = ", ".join(sorted(str(one) for one in makers)[:5])
        what = f"{info.solvable} needs {info.dep}, and nothing that has it can be installed"
        return what, f"it is in {names}" if names else "", "see what keeps those from being used"

    def _hidden_providers(self, dep: Any) -> list[str]:
        key = bindings().SOLVABLE_PROVIDES
        hidden = self._universe.hidden
        found = solver_module.candidates(
            self._universe, lambda s: s.id in hidden and s.matchesdep(key, dep, -1)
        )
        return [f"{s} has it, but {self._universe.why_hidden(s)}" for s in list(found)[:4]]

    def _other_versions(self, dep: Any) -> str:
        """Packages that provide the name of a versioned dependency in another version."""
        name = str(dep).split(" ")[0].strip("(")
        found = self._universe.pool.whatprovides(self._universe.pool.str2id(name))
        return ", ".join(sorted(str(one) for one in found)[:4])

    def _trail(self, target: Any, infos: Sequence[Any]) -> list[str]:
        """`podman (asked for) needs conmon needs x`: how a request leads to `target`."""
        asked = {
            solvable.id
            for spec in self._universe.request.packages
            if (found := self._universe.find(spec)) is not None
            for solvable in found.solvables()
        }
        if target.id in asked:
            return [f"{target} is asked for in the treefile"]
        needed_by: dict[int, set[Any]] = {}
        requires = self._solver.SOLVER_RULE_PKG_REQUIRES
        for info in infos:
            if info.type == requires:
                for maker in self._universe.pool.whatprovides(info.dep_id):
                    needed_by.setdefault(maker.id, set()).add(info.solvable)
        queue: deque[list[Any]] = deque([[target]])
        seen = {target.id}
        while queue:
            path = queue.popleft()
            if path[0].id in asked:
                steps = [str(one.name) for one in path[:-1]] + [str(target)]
                return [f"{' needs '.join(steps[-_CHAIN:])}; {path[0].name} is asked for"]
            for parent in sorted(needed_by.get(path[0].id, ()), key=str):
                if parent.id not in seen:
                    seen.add(parent.id)
                    queue.append([parent, *path])
        return []


def _sort_key(info: Any) -> tuple[str, str]:
    return str(info.solvable), str(info.dep)
