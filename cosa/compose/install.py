"""Running a transaction's scripts, with the SELinux policy beside the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cosa.compose import kept, policy, scripts
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.plan import Plan
from cosa.compose.scriptjob import Job
from cosa.compose.scripts import ScriptRun
from cosa.compose.tree import Tree, absorb
from cosa.core import events, parallel
from cosa.core.errors import CosaError, Where
from cosa.core.store import Json, Store
from cosa.model.treefile import Treefile


@dataclass(frozen=True)
class Installation:
    """What the scripts need. `overrides` maps packaged files that layers replaced to objects."""

    tree: Tree
    plan: Plan
    packages: Sequence[PackageIndex]
    treefile: Treefile
    store: Store
    scratch: Path
    epoch: int
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Installed:
    """What is still on its way when all other scripts are done: the policy.

    `late` are upper layers to absorb at the end, in order.
    """

    pool: ThreadPoolExecutor
    policy: Future[Path] | None = None
    late: list[Path] = field(default_factory=list)
    _seen: bool = False

    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.policy is None or self.policy.done()

    def wait_policy(self) -> tuple[Path, ...]:
        """The policy's layer, to be laid over the tree, once it is finished."""
        if self.policy is None:
            return ()
        path = self.policy.result()
        if not self._seen:
            self.late.insert(0, path)
            self._seen = True
        self.pool.shutdown()
        return (path,)


def install(job: Installation) -> Installed:
    """Run every script; what they wrote is in the tree afterwards, the policy excepted.

    Raises what `scripts` does.
    """
    langs = job.treefile.install_langs or ()
    jobs = scripts.collect(job.packages, langs)
    apart = policy.detachable(jobs, job.packages)
    installed = Installed(ThreadPoolExecutor(max_workers=1))
    inputs = policy.key(job.tree, apart, job.packages, job.overrides) if apart else {}
    with events.step("package scripts") as step:
        first = ScriptRun(job.tree, job.scratch, job.epoch, "scripts", langs=langs)
        sysusers(first, job.treefile)
        if not apart:
            scripts.run_all(first, job.plan, job.packages, jobs, step)
            scripts.run_late(first, job.plan, job.packages, jobs)
            absorb(first.layers.upper, job.tree)
            step.summary = f"{first.count} scripts"
            return installed
        ahead, rest = _divide(jobs["posttrans"], apart, policy.needed(apart, job.packages))
        before = {**jobs, "posttrans": ahead}
        scripts.run_all(first, job.plan, job.packages, before, step)
        absorb(first.layers.upper, job.tree)
        installed.policy = _policy(job, installed.pool, apart, inputs)
        second = ScriptRun(job.tree, job.scratch, job.epoch, "scripts-2", langs=langs)
        for late in rest:
            second.run(late)
            step.progress(first.count + second.count, len(ahead) + len(rest), "scripts")
        scripts.run_late(second, job.plan, job.packages, jobs)
        absorb(second.layers.upper, job.tree)
        step.summary = f"{first.count + second.count} scripts"
    return installed


def _divide(
    jobs: Sequence[Job], apart: Sequence[Job], needed: set[str]
) -> tuple[list[Job], list[Job]]:
    """The scripts the policy's own packages rely on, and all others; `apart` in neither.

    What a package requires comes before it in rpm's order, so pulling all of
    that ahead keeps every package behind what it requires.
    """
    others = [job for job in jobs if job not in apart]
    return (
        [job for job in others if job.package.name in needed],
        [job for job in others if job.package.name not in needed],
    )


def sysusers(run: ScriptRun, treefile: Treefile) -> None:
    """Make the accounts packages declare in sysusers.d, as rpm itself does since 4.19.

    `sysusers: compose-forced` demands the program, otherwise it runs if it is there.
    """
    there = run.tree.resolve("usr/bin/systemd-sysusers").is_file()
    if there and run.tree.path("usr/lib/sysusers.d").is_dir():
        run.program(["/usr/bin/systemd-sysusers"], "systemd-sysusers")
    elif treefile.sysusers == "compose-forced":
        raise CosaError(
            "compose/sysusers",
            "`sysusers: compose-forced` is set, but the tree has no systemd-sysusers",
            Where(str(treefile.path)),
        )


def _policy(
    job: Installation, pool: ThreadPoolExecutor, apart: Sequence[Job], inputs: dict[str, Json]
) -> Future[Path]:
    """The policy's layer: from the cache, or on its way by its scripts."""
    upper = job.scratch / "policy-kept"
    if kept.restore(job.store, policy.STEP, inputs, upper):
        with events.step("SELinux policy") as step:
            step.reuse()
        there: Future[Path] = Future()
        there.set_result(upper)
        return there
    # A farm of its own: no layer of a mounted overlay may change, and ours goes on changing.
    farm = job.tree.clone(job.scratch / "policy-root")
    return parallel.submit(pool, lambda: _build_policy(job, farm, apart, inputs))


def _build_policy(
    job: Installation, farm: Tree, apart: Sequence[Job], inputs: dict[str, Json]
) -> Path:
    with events.step("SELinux policy"):
        # Not the build's time: the result is kept for builds of other days.
        run = ScriptRun(farm, job.scratch, 0, "policy")
        for one in apart:
            run.run(one)
        policy.only_policy(run.layers.upper)
        kept.keep(job.store, policy.STEP, inputs, run.layers.upper)
        return run.layers.upper
