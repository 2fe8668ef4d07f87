"""Package scripts: in rpm's order, in a sandbox, one at a time, each failure with its output.

As in rpm-ostree all %pre run first, then package by package the owners of its
files are settled and its %post runs, then all %posttrans, then
%transfiletriggerin. Triggers run round the %post as rpm would run them.
Everything they write lands in the upper layer of an overlay, which
`tree.absorb` moves into the tree.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cosa.compose import skips, triggers
from cosa.compose.passwd import Accounts, need_id
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.plan import Plan
from cosa.compose.scriptjob import Job
from cosa.compose.tree import Tree
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass
from cosa.core.run import Result
from cosa.tools import rpmlua, sandbox
from cosa.tools.rpmheader import EXPAND, capability_xattr
from cosa.tools.sandbox import Layers, Sandbox

# Generous: the longest script there is compiles an SELinux policy, on an emulated machine perhaps.
DEFAULT_TIMEOUT = 900.0

# Only what works on files may reach systemctl; there is no system to talk to.
_SYSTEMCTL = """#!/bin/sh
for arg; do
  case $arg in
    preset|preset-all|--root|--root=*) exec /run/cosa/systemctl "$@" ;;
  esac
done
exit 0
"""
_NOTHING = "#!/bin/sh\nexit 0\n"


def timeout() -> float:
    """Seconds a script may take: `COSA_SCRIPT_TIMEOUT`, else a generous default."""
    return float(os.environ.get("COSA_SCRIPT_TIMEOUT") or DEFAULT_TIMEOUT)


PHASES = ("pre", "post", "posttrans")


def collect(packages: Sequence[PackageIndex], langs: Sequence[str] = ()) -> dict[str, list[Job]]:
    """The scripts of a transaction by phase, in the order of `packages`; all triggers together."""
    jobs: dict[str, list[Job]] = {phase: [] for phase in (*PHASES, "triggers")}
    for package in packages:
        for script in package.scriptlets:
            verdict = skips.judge(package.name, script, langs)
            if verdict.script is not None:
                phase = script.kind if script.kind in PHASES else "triggers"
                jobs[phase].append(Job(package, verdict.script))
    return jobs


def _too_long(what: str) -> CosaError:
    return CosaError(
        "script/timeout",
        f"{what} did not finish within {timeout():g} s and was stopped",
        fix="see what it waits for, or allow more time with COSA_SCRIPT_TIMEOUT=SECONDS",
        exit_class=ExitClass.STEP,
    )


class ScriptRun:
    """One overlay over the tree and the programs run in it, one after the other."""

    def __init__(
        self, tree: Tree, scratch: Path, epoch: int, name: str, over: Sequence[Path] = (),
        *,
        langs: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.tree = tree
        self.langs = ":".join(langs)
        self.count = 0
        self.layers = Layers.make((tree.root, *over), scratch, name)
        self._support = scratch / f"{name}.support"
        self._support.mkdir()
        self._env = sandbox.script_env(epoch)
        self._binds = self._wrappers()

    def _wrappers(self) -> dict[str, Path]:
        """Programs that must not do their work here, and the mark of an OSTree system."""
        binds = {"/run/ostree-booted": self._file("ostree-booted", "")}
        real = self.tree.resolve("usr/bin/systemctl")
        if real.is_file():
            binds["/run/cosa/systemctl"] = real
            binds["/usr/bin/systemctl"] = self._file("systemctl", _SYSTEMCTL)
        for name in ("usr/bin/kernel-install", "usr/sbin/sss_cache"):
            if self.tree.exists(name):
                binds[f"/{name}"] = self._file(os.path.basename(name), _NOTHING)
        return binds

    def _file(self, name: str, text: str) -> Path:
        path = self._support / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def _lua(self) -> Path:
        """The folder with rpm's Lua, filled on first use."""
        folder = self._support / "lua"
        if not folder.exists():
            rpmlua.gather(folder)
        return folder

    def _expanded(self, job: Job) -> str:
        """A script whose macros rpm expands first (`%post -e`): by rpm, in the sandbox."""
        extra = {
            "/run/cosa/script": self._file("expand", rpmlua.expansion(self.langs)),
            rpmlua.PLACE: self._lua(),
        }
        argv = rpmlua.command("/run/cosa/script", ())
        data = job.script.body.encode("utf-8", "surrogateescape")
        result = self.sandbox(extra).run(argv, data=data, timeout=timeout())
        if result.status != 0:
            raise CosaError(
                "script/macros",
                f"the macros in the %{job.script.kind} script of {job.package.nevra} "
                "cannot be expanded",
                why=sandbox.output(result) or "rpm said nothing",
                exit_class=ExitClass.STEP,
            )
        return result.raw.decode("utf-8", "surrogateescape")

    def sandbox(self, extra: Mapping[str, Path] | None = None) -> Sandbox:
        """The sandbox scripts run in."""
        return Sandbox(
            root=self.tree.root, layers=self.layers, env=self._settings(extra or {}),
            ro_binds={**self._binds, **(extra or {})},
        )  # fmt: skip

    def run(self, job: Job) -> None:
        """Run one script. Raises `script/failed` or `script/timeout`, naming package and phase."""
        script, package = job.script, job.package
        lua = script.interpreter[0] == skips.LUA
        if not script.body and (lua or script.interpreter[0] in {"/bin/sh", "/usr/bin/sh"}):
            return
        program = list(script.interpreter)
        extra = {}
        if script.body:
            # A file rather than an argument: scripts outgrow what an argument may hold.
            body = self._expanded(job) if script.flags & EXPAND else script.body
            body = rpmlua.script(body, self.langs) if lua else body
            extra["/run/cosa/script"] = self._file("script", body)
            program += ["/run/cosa/script", *job.arguments]
        if lua:
            program = rpmlua.command("/run/cosa/script", job.arguments)
            extra[rpmlua.PLACE] = self._lua()
        data = "".join(f"{path}\n" for path in job.paths).encode() if job.paths else None
        self.count += 1
        try:
            result = self.sandbox(extra).run(program, data=data, timeout=timeout())
        except CosaError as err:
            if err.code != "run/timeout":
                raise
            raise _too_long(f"the %{script.kind} script of {package.nevra}") from err
        if result.status != 0:
            how = f"exit status {result.status}"
            if result.status == 127:
                how = f"exit status 127: {script.interpreter[0]} or a program it calls is missing"
            raise CosaError(
                "script/failed",
                f"the %{script.kind} script of {package.nevra} failed ({how})",
                why=sandbox.output(result) or "it printed nothing",
                fix=f"read the script with `rpm -qp --scripts`, or exclude {package.name}",
                exit_class=ExitClass.STEP,
            )

    def _settings(self, extra: Mapping[str, Path]) -> dict[str, str]:
        """The environment; rpm's Lua reads the tree's macros, or the assembler's if it has none."""
        if rpmlua.PLACE in extra and not self.tree.path("usr/lib/rpm/rpmrc").is_file():
            return self._env | {"RPM_CONFIGDIR": rpmlua.CONFIG}
        return self._env

    def run_text(self, body: str, what: str) -> Result:
        """Run a script that names its own interpreter; its status is the caller's to judge.

        Raises `script/timeout`.
        """
        self.count += 1
        extra = {"/run/cosa/script": self._file("script", body)}
        try:
            return self.sandbox(extra).run(["/run/cosa/script"], timeout=timeout())
        except CosaError as err:
            if err.code != "run/timeout":
                raise
            raise _too_long(what) from err

    def program(self, argv: Sequence[str], what: str) -> None:
        """Run a program of the tree that is not a package's script."""
        self.count += 1
        result = self.sandbox().run(argv, timeout=timeout())
        if result.status != 0:
            raise CosaError(
                "script/failed",
                f"{what} failed (exit status {result.status})",
                why=sandbox.output(result) or "it printed nothing",
                exit_class=ExitClass.STEP,
            )

    def place(self, rel: str) -> Path:
        """Where a path of the merged view lies: in the upper layer, else in the tree."""
        for layer in (self.layers.upper, *reversed(self.layers.lowers)):
            if os.path.lexists(layer / rel):
                return layer / rel
        return self.tree.path(rel)

    def accounts(self) -> Accounts:
        """Users and groups as they are now."""
        texts = []
        for name in ("etc/passwd", "etc/group"):
            place = self.place(name)
            texts.append(place.read_text("utf-8", "replace") if place.is_file() else "")
        return Accounts.parse(*texts)


def settle_owners(run: ScriptRun, plan: Plan, package: PackageIndex, accounts: Accounts) -> None:
    """Give a package's files the owners its header names; hard links are broken first.

    Raises `compose/unknown-owner`.
    """
    for entry in package.entries:
        if not entry.special:
            continue
        path = plan.origins.get(entry.path)
        node = plan.nodes.get(path) if path else None
        if path is None or node is None or node.package != package.name:
            continue
        uid = need_id(accounts.uid(entry.user), "user", entry.user, package.name, path)
        gid = need_id(accounts.gid(entry.group), "group", entry.group, package.name, path)
        upper = run.layers.upper / path
        if os.path.lexists(upper):
            place = upper
        elif run.tree.exists(path):
            if not (uid or gid):
                continue  # as imported
            place = run.tree.own(path)
        else:
            continue
        os.chown(place, uid, gid, follow_symlinks=False)
        if not stat.S_ISLNK(entry.mode):
            # After the change of owner, which clears set-id bits and capabilities.
            os.chmod(place, stat.S_IMODE(entry.mode))
            if entry.caps:
                os.setxattr(place, "security.capability", capability_xattr(entry.caps))


def run_all(
    run: ScriptRun,
    plan: Plan,
    packages: Sequence[PackageIndex],
    jobs: Mapping[str, Sequence[Job]],
    step: events.Step,
) -> None:
    """Every script but %transfiletriggerin, in its order; see the module's text."""
    total = sum(map(len, jobs.values()))

    def go(todo: Iterable[Job]) -> None:
        for job in todo:
            run.run(job)
            step.progress(run.count, max(total, run.count), "scripts")

    go(jobs["pre"])
    post: dict[str, list[Job]] = {}
    for job in jobs["post"]:
        post.setdefault(job.package.name, []).append(job)
    accounts, known = run.accounts(), 0
    waiting = triggers.Triggers(plan, jobs["triggers"])
    for package in packages:
        if run.count != known:
            accounts, known = run.accounts(), run.count
        settle_owners(run, plan, package, accounts)
        waiting.arrived(package)
        go(waiting.before_post(package))
        go(post.get(package.name, ()))
        go(waiting.after_post(package))
    go(jobs["posttrans"])


def run_late(
    run: ScriptRun, plan: Plan, packages: Sequence[PackageIndex], jobs: Mapping[str, Sequence[Job]]
) -> None:
    """%transfiletriggerin of all packages, the transaction's last scripts."""
    waiting = triggers.Triggers(plan, jobs["triggers"])
    for package in packages:
        for job in waiting.of_transaction(package, packages):
            run.run(job)
