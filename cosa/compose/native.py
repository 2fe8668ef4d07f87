"""The native engine: from verified RPM files to an OSTree commit.

One function per stage, in the order of rpm-ostree's `compose tree`; what does
not depend on each other runs side by side. The stages' own modules tell how.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from cosa.compose import (
    checks,
    finalize,
    importer,
    importing,
    initramfs,
    install,
    kernel,
    layers,
    postprocess,
    scripts,
    trouble,
    workers,
)
from cosa.compose import commit as committing
from cosa.compose.job import Commit, ComposeJob
from cosa.compose.kernel import Kernel
from cosa.compose.passwd import Accounts
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.plan import Plan, PlanOptions, plan_union
from cosa.compose.tree import Tree, absorb, checkout
from cosa.core import events, fs, parallel
from cosa.core.errors import CosaError, ExitClass
from cosa.core.run import failed as run_failed
from cosa.core.run import run as run_program
from cosa.core.store import Store
from cosa.tools import ostree, selinux

__all__ = ["Commit", "ComposeJob", "compose"]


def compose(job: ComposeJob) -> Commit:
    """Make the commit and point the treefile's ref at it.

    Raises what the stages raise; nothing of a failed compose stays but caches.
    """
    trouble.need_ids()
    with trouble.full_disk(job.cache, job.target_repo):
        job.cache.mkdir(parents=True, exist_ok=True)
        job.scratch.mkdir(parents=True, exist_ok=True)
        _check_place(job)
        # Folders the tree gets must not have the caller's idea of permissions.
        umask = os.umask(0o022)
        try:
            return _compose(job)
        finally:
            os.umask(umask)


def _check_place(job: ComposeJob) -> None:
    if job.cache.stat().st_dev != job.scratch.stat().st_dev:
        raise CosaError(
            "env/two-filesystems",
            f"{job.cache} and {job.scratch} are on different file systems",
            why="the tree is made of hard links to the package cache",
            fix="keep the working directory's cache and tmp on one file system",
            exit_class=ExitClass.ENVIRONMENT,
        )


def _compose(job: ComposeJob) -> Commit:
    repo = ostree.Repo.ensure(job.target_repo, "bare-user")
    with workers.pool() as pool, fs.private_dir(job.scratch, "compose") as scratch:
        return _Compose(job, pool, scratch, repo).run()


class _Compose:
    """One compose under way."""

    def __init__(
        self, job: ComposeJob, pool: workers.Pool, scratch: Path, target: ostree.Repo
    ) -> None:
        self.job = job
        self.treefile = job.tree
        self.pool = pool
        self.scratch = scratch
        self.target = target
        self.cache = importer.open_cache(job.cache / "pkgcache")
        self.store = Store(job.cache / "steps")
        self.previous = checks.previous_texts(target, job.parent)
        self.shown: dict[str, Path] = {}

    def run(self) -> Commit:
        packages, plan, tree = self._assemble()
        overrides = self._lay_over(tree)
        finalize.homes(tree)
        checks.preset(tree, self.treefile, self._previous_accounts(), self.previous)
        (self.scratch / "rpmdb").mkdir()
        _, installed = parallel.side_by_side(
            lambda: self._rpmdb(packages, postprocess.db_backend(tree, self.treefile)),
            lambda: install.install(self._installation(tree, plan, packages, overrides)),
        )
        assert installed is not None
        found = self._prepare(tree, packages)
        image = self._programs(tree, packages, found, installed)
        self._finish(tree, plan, found, image)
        return self._commit(tree, found)

    def _assemble(self) -> tuple[list[PackageIndex], Plan, Tree]:
        """Import what is new, join the packages in memory, lay them out as hard links."""
        job = self.job
        by_nevra, refs = importing.import_all(
            self.cache, self.pool, job.packages, job.rpms, self._import_options()
        )
        # The refs are only a record; making them durable need not hold up anybody.
        self.imported = threading.Thread(target=importer.finish, args=(self.cache, refs))
        self.imported.start()
        with events.step("assemble") as step:
            names = self.pool.call(
                "tasks:order", rpms={n: str(job.rpms[n]) for n in sorted(by_nevra)},
                scratch=str(self.scratch),
            )  # fmt: skip
            packages = sorted(
                (by_nevra[name] for name in names), key=lambda p: p.name != "filesystem"
            )
            options = PlanOptions(
                self.treefile.documentation,
                tuple((row[0], tuple(row[1:])) for row in self.treefile.remove_from_packages),
            )
            plan = plan_union(packages, options)
            tree = checkout(plan, self.cache.path, self.scratch / "root")
            step.summary = f"{len(plan.nodes)} paths of {len(packages)} packages"
        return packages, plan, tree

    def _import_options(self) -> importer.Options:
        tree = self.treefile
        return importer.Options(tree.readonly_executables, tree.ima, tree.ignore_devices)

    def _lay_over(self, tree: Tree) -> dict[str, str]:
        """Lay the overlays over the packages; what they replaced, by path."""
        found = layers.of_treefile(
            self.treefile, self.job.config, self.job.extra_layers, self.job.overrides_rootfs
        )
        overrides: dict[str, str] = {}
        writer = ostree.ObjectWriter(self.cache.path)
        with events.step("overlays") as step:
            for layer in found:
                replaced = layers.apply(layer, tree, self.cache, writer)
                overrides |= replaced
                if replaced:
                    some = ", ".join(f"/{path}" for path in sorted(replaced)[:3])
                    more = f" and {len(replaced) - 3} more" if len(replaced) > 3 else ""
                    step.note(f"{layer.title} replaces {some}{more}")
                elif layer.name == layers.OVERRIDES:
                    step.note("overrides/rootfs adds files, replaces none")
            step.summary = f"{len(found)} layers"
        writer.close()
        return overrides

    def _previous_accounts(self) -> Accounts | None:
        if not self.previous:
            return None
        return Accounts.parse(self.previous["passwd"], self.previous["group"])

    def _rpmdb(self, packages: list[PackageIndex], backend: str) -> None:
        with events.step("rpm database"):
            self.pool.call(
                "tasks:write_rpmdb", rpms=[str(self.job.rpms[p.nevra]) for p in packages],
                out=str(self.scratch / "rpmdb"), scratch=str(self.scratch), epoch=self.job.epoch,
                backend=backend,
            )  # fmt: skip

    def _installation(
        self, tree: Tree, plan: Plan, packages: list[PackageIndex], overrides: dict[str, str]
    ) -> install.Installation:
        return install.Installation(
            tree, plan, packages, self.treefile, self.store, self.scratch, self.job.epoch,
            overrides,
        )  # fmt: skip

    def _prepare(self, tree: Tree, packages: list[PackageIndex]) -> Kernel | None:
        """Changes that need no program, then the kernel's own index."""
        finalize.tidy(tree, self.treefile)
        self.shown = postprocess.unversioned(tree, self.scratch)
        postprocess.prepare(tree, self.treefile, self.job.version, self.scratch / "rpmdb")
        found = kernel.settle(tree)
        if found:
            kernel.depmod(tree, found, packages, self.store, self.scratch)
        return found

    def _programs(
        self,
        tree: Tree,
        packages: list[PackageIndex],
        found: Kernel | None,
        installed: install.Installed,
    ) -> Path | None:
        """The postprocess scripts and the initramfs.

        While the policy, which the scripts have to see, is still being built,
        dracut need not wait for them: it reads the tree as it is before, which
        is nearly always what it is after. The key of what it was made from
        tells, and it runs again if they changed any of that.
        """
        wanted = found if found and not self.treefile.no_initramfs else None
        ahead = not installed.ready()
        image, _ = parallel.side_by_side(
            lambda: self._initramfs(tree, packages, wanted, "initramfs") if ahead else None,
            lambda: self._postprocess(tree, installed),
        )
        for upper in installed.late:
            absorb(upper, tree)
        finalize.tidy(tree, self.treefile)
        if not ahead:
            return self._initramfs(tree, packages, wanted, "initramfs")
        if image and wanted:
            image = self._initramfs(tree, packages, wanted, "initramfs again")
        return image

    def _initramfs(
        self, tree: Tree, packages: list[PackageIndex], found: Kernel | None, name: str
    ) -> Path | None:
        if found is None:
            return None
        args = self._dracut_args()
        cache = initramfs.Cache(self.job.cache)
        view = initramfs.View(tree, self.shown)
        key = initramfs.first_key(view, found, args, packages)
        image = cache.find(view, key)
        if image and name != "initramfs":
            return image
        with events.step(name) as step:
            if image:
                step.reuse()
            else:
                folder = name.replace(" ", "-")
                built = initramfs.build(view, found, args, self.scratch / folder)
                image = cache.keep(view, key, built)
            step.size = image.stat().st_size
        return image

    def _dracut_args(self) -> tuple[str, ...]:
        return self.treefile.initramfs_args or ("--no-hostonly",)

    def _postprocess(self, tree: Tree, installed: install.Installed) -> None:
        over = installed.wait_policy()
        if not (self.treefile.postprocess or self.treefile.postprocess_script):
            return
        with events.step("postprocess") as step:
            run = scripts.ScriptRun(tree, self.scratch, self.job.epoch, "postprocess", over)
            postprocess.run_scripts(run, self.treefile, step)
            installed.late.append(run.layers.upper)

    def _finish(self, tree: Tree, plan: Plan, found: Kernel | None, image: Path | None) -> None:
        with events.step("finalize"):
            if found and image:
                place = tree.path(f"{found.folder}/initramfs.img")
                place.unlink(missing_ok=True)
                place.hardlink_to(image)
            if found and self.treefile.boot_location in {"new", "both"}:
                kernel.boot_copies(tree, found)
            for program in self.treefile.finalize_d:
                self._finalize_program(program, tree)
            finalize.finish(tree, self.treefile, sorted(plan.tmpfiles))
            checks.verify(tree, self.treefile, self._previous_accounts())

    def _finalize_program(self, program: Path, tree: Tree) -> None:
        """finalize.d: programs of the configuration, run outside the tree."""
        result = run_program(
            [program.resolve()], cwd=tree.root, check=False,
            env={"RPMOSTREE_WORKDIR": str(self.scratch)},
        )  # fmt: skip
        if result.status != 0:
            raise run_failed(result, f"finalize.d/{program.name} failed")

    def _commit(self, tree: Tree, found: Kernel | None) -> Commit:
        job = self.job
        with events.step("commit") as step:
            labels = None
            if self.treefile.selinux and not self.treefile.container:
                version = self.treefile.selinux_label_version
                labels = selinux.Labels(tree.root, usr_etc_as_etc=version >= 1)
            writer = committing.Writer(
                tree, self.target, self.pool, committing.Table(job.cache / "objects.json"), labels
            )
            metadata = committing.metadata(job, found.version if found else "")
            with self.target.transaction() as counts:
                root = writer.write(step)
                checksum = self.target.write_commit(
                    root, metadata, timestamp=job.epoch, parent=job.parent
                )
                if self.treefile.ref:
                    self.target.set_refs({self.treefile.ref: checksum})
            self.imported.join()
            writer.stats.metadata_total = counts.total
            writer.stats.metadata_written = counts.written
            step.summary = checksum[:12]
            step.size = writer.stats.bytes_written
        return Commit(
            checksum, self.treefile.ref or "", job.version, job.epoch,
            self.target.content_checksum(checksum), writer.stats.to_json(),
            found.version if found else "",
        )  # fmt: skip
