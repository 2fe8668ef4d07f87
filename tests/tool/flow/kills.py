"""Kill cosa at random instants and look at what it leaves: `python3 kills.py --kills 200`.

SIGKILL reaches fetch, build, the making of one more image, prune and cache prune, at instants
spread evenly over how long each works (the start of Python is left out), with warm and with cold
caches, on the small OS of tests/smallos.py.
After every kill: all builds listed before are there with the bytes meta.json names, both OSTree
repositories pass fsck, nothing we started lives on, nothing is mounted. Then the same command
again, without help: it must succeed, and leave no temporary file in the working directory, the
shared cache or $TMPDIR. At the end the OS is rebuilt in a new folder with cold caches: what the
killed runs left in theirs must not have got into the last build.

Prints a JSON report; exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from smallos import SmallOS

# Where a command spends its time is where it is killed more often.
WEIGHTS = {"fetch": 2, "build": 5, "image": 3, "prune": 2, "cache": 1}
KINDS = tuple(kind for kind, weight in WEIGHTS.items() for _ in range(weight))
EPOCH = "1700000000"


@dataclass
class Trial:
    """One working directory and what has been seen of it."""

    small: SmallOS
    root: Path
    dice: random.Random
    durations: dict[str, float] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    killed: collections.Counter = field(default_factory=collections.Counter)
    in_step: collections.Counter = field(default_factory=collections.Counter)
    digests: dict[tuple, str] = field(default_factory=dict)
    versions: int = 0
    start: float = 0.3  # seconds until a command does something

    @property
    def workdir(self) -> Path:
        return self.root / "w"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    # Preparing a command, so that there is something for it to do

    def prepare(self, kind: str, cold: bool) -> list[str]:
        """The command's words, after making sure that it finds work."""
        if cold:
            shutil.rmtree(self.small.cache / "rpms", ignore_errors=True)
            if kind == "build":
                shutil.rmtree(self.workdir / "cache", ignore_errors=True)
        if kind in ("fetch", "build"):
            self.change()
        if kind == "fetch":
            return ["fetch"]
        if kind == "build":
            return ["build", "--skip-prune"]
        if kind == "cache":
            self.change()
            self.run("build", "ostree", "--skip-prune")
            self.age()
            return ["cache", "prune", "--unused-for", "1d"]
        if kind == "prune":
            self.copy_builds(4 - len(self.listed()))
            return ["prune", "--keep-last-n", "2"]
        self.change()
        self.run("build", "ostree", "--skip-prune")
        return ["build", "qemu", "--skip-prune"]

    def age(self) -> None:
        """Let everything in the caches look unused for days."""
        then = time.time() - 5 * 86400
        for folder in (self.small.cache, self.workdir / "cache", self.workdir / "tmp/repo/objects"):
            for path in folder.rglob("*"):
                if not path.is_symlink():
                    os.utime(path, (then, then))

    def copy_builds(self, count: int) -> None:
        """More builds to prune, as hard links of the latest: older ones, as it stays the latest."""
        path = self.workdir / "builds/builds.json"
        data = json.loads(path.read_text())
        source = self.workdir / "builds" / os.readlink(self.workdir / "builds/latest")
        for _ in range(count):
            self.versions += 1
            name = f"0.copy.{self.versions}"
            target = source.parent / name
            subprocess.run(["cp", "-al", source, target], check=True)
            meta = target / "x86_64/meta.json"
            text = json.dumps(json.loads(meta.read_text()) | {"buildid": name})
            meta.unlink()
            meta.write_text(text)
            data["builds"].append({"id": name, "arches": ["x86_64"]})
        path.write_text(json.dumps(data))

    def change(self) -> None:
        """Make the next build another one: another override, now and then another package."""
        self.versions += 1
        if self.versions % 5 == 0:
            self.small.update(f"2.{self.versions}")
        place = self.workdir / "overrides/rootfs/usr/share/kills"
        place.mkdir(parents=True, exist_ok=True)
        (place / "text").write_text(str(self.versions))

    # Running and killing

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "COSA_CACHE": str(self.small.cache), "TMPDIR": str(self.tmp),
            "SOURCE_DATE_EPOCH": EPOCH, "COSA_ANNOUNCED": "1",
        }  # fmt: skip

    def command(self, *words: str) -> list[str]:
        return self.small.command(self.workdir, "--log-format", "json", *words)

    def run(self, *words: str) -> float:
        """A command that must end well; how long it took in seconds."""
        began = time.monotonic()
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False,
            env=self.environment(),
        )  # fmt: skip
        if done.returncode != 0:
            said = "\n".join(x for x in done.stderr.splitlines() if not x.startswith("{"))
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {said[-3000:]}")
        return time.monotonic() - began

    def kill_one(self, kind: str, cold: bool, at: float) -> None:
        """Kill a command at a share of its usual duration, look, and run it again."""
        words = self.prepare(kind, cold)
        before = self.listed()
        process = subprocess.Popen(
            self.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment(),
        )  # fmt: skip
        # Before its first event a command has only loaded Python; some have none.
        select.select([process.stderr], [], [], 0.9 * self.start)
        time.sleep(max(0.05, self.durations[kind] - self.start) * at)
        process.send_signal(signal.SIGKILL)
        with process.stderr:
            said = process.stderr.read().decode("utf-8", "replace")
        if process.wait() == -signal.SIGKILL:
            self.killed[kind] += 1
            self.in_step[last_step(said) if said else kind] += 1
        title = f"{' '.join(words)}{' (cold)' if cold else ''} killed at {at:.3f}"
        # Pruning is there to remove builds: those still listed must be whole.
        self.look(title, before if kind != "prune" else [])
        try:
            again = self.run(*words)
        except RuntimeError as err:
            raise RuntimeError(f"{title}: {err}") from err
        self.durations[kind] += 0.2 * (again - self.durations[kind])
        self.look(f"{title}, then run again", before if kind != "prune" else [])
        self.troubles += [f"{title}: left {path}" for path in self.files_left()]

    # Looking

    def listed(self) -> list[str]:
        try:
            data = json.loads((self.workdir / "builds/builds.json").read_text())
        except FileNotFoundError:
            return []
        return [entry["id"] for entry in data["builds"]]

    def look(self, title: str, before: list[str]) -> None:
        """Everything that must be true at any instant."""
        listed = self.listed()
        lost = [name for name in before if name not in listed]
        found = [f"lost {name}" for name in lost]
        for name in listed:
            found += self.look_at_build(name)
        latest = self.workdir / "builds/latest"
        if listed and not (latest / "x86_64/meta.json").is_file():
            found.append("`latest` leads nowhere")
        for repo in (self.workdir / "tmp/repo", self.workdir / "cache/pkgcache"):
            found += fsck(repo)
        found += self.living()
        self.troubles += [f"{title}: {each}" for each in found]

    def look_at_build(self, name: str) -> list[str]:
        folder = self.workdir / "builds" / name / "x86_64"
        try:
            meta = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as err:
            return [f"build {name}: {err}"]
        found = []
        for image in meta["images"].values():
            path = folder / image["path"]
            if not path.is_file() or self.digest(path) != image["sha256"]:
                found.append(f"{path} is not what meta.json says")
        needed = ("commitmeta.json", "cosa-inputs.json", "ostree-commit-object")
        return found + [f"{folder} has no {n}" for n in needed if not (folder / n).is_file()]

    def digest(self, path: Path) -> str:
        """The sha256 of a file, remembered as long as the kernel says that nobody wrote to it."""
        info = path.stat()
        key = (info.st_ino, info.st_size, info.st_mtime_ns)
        if key not in self.digests:
            with path.open("rb") as file:
                self.digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self.digests[key]

    def living(self) -> list[str]:
        """Processes and mounts of a killed run; processes get two seconds to notice."""
        until = time.monotonic() + 2
        while (found := processes_below(self.root)) and time.monotonic() < until:
            time.sleep(0.02)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return found + [line for line in mounts if str(self.root) in line]

    def files_left(self) -> list[str]:
        """Temporary files, after a run that ended well."""
        found = [str(path) for path in self.tmp.iterdir()]
        for folder in (self.workdir, self.small.cache):
            for path in folder.rglob(".cosa-*"):
                # Killed before it was locked: empty, and swept once it is a minute old.
                fresh = path.name.startswith(".cosa-new") and not any(path.iterdir())
                if not fresh or time.time() - path.stat().st_mtime > 90:
                    found.append(str(path))
            found += [str(path) for path in folder.rglob("cosa-link-*")]
        known = {".build.lock", "repo"}
        found += [str(p) for p in (self.workdir / "tmp").iterdir()
                  if p.name not in known and not p.name.startswith(".cosa-")]  # fmt: skip
        return found


def last_step(said: str) -> str:
    """The innermost step that had begun and not ended when the process died."""
    open_steps: dict[int, str] = {}
    for line in said.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("kind") == "start":
            open_steps[event["step"]] = event["name"].partition(":")[0]
        elif event.get("kind") == "end":
            open_steps.pop(event["step"], None)
    return list(open_steps.values())[-1] if open_steps else "before the first step"


def fsck(repo: Path) -> list[str]:
    if not (repo / "config").is_file():
        return []
    argv = ["ostree", f"--repo={repo}", "fsck", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [f"fsck of {repo.name}: {(done.stderr or done.stdout).strip()[-500:]}"]


def processes_below(root: Path) -> list[str]:
    """Command lines of processes that work in or on a folder, ours and our parents' excepted."""
    found = []
    ours = ancestors()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            here = os.readlink(entry / "cwd")
        except OSError:
            continue
        if int(entry.name) not in ours and (
            here.startswith(str(root)) or str(root) in " ".join(words)
        ):
            found.append(" ".join(words)[:300])
    return [line for line in found if "gpg-agent" not in line]


def ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def trial(root: Path, kills: int, seed: int) -> dict:
    """Do it; the report."""
    small = SmallOS.make(root / "os")
    this = Trial(small, root, random.Random(seed))
    this.tmp.mkdir()
    small.init(this.workdir)
    began = time.monotonic()
    this.durations["build"] = this.run("build", "--skip-prune")
    this.start = this.run("list")
    for kind in ("fetch", "image", "prune", "cache"):
        this.durations[kind] = this.run(*this.prepare(kind, cold=False))
    # Evenly over the kinds and over each one's duration: chance alone leaves gaps.
    plan = [(KINDS[n % len(KINDS)], (n // len(KINDS) + this.dice.random())) for n in range(kills)]
    rounds = -(-kills // len(KINDS))
    this.dice.shuffle(plan)
    try:
        for number, (kind, at) in enumerate(itertools.cycle(plan)):
            if sum(this.killed.values()) == kills:
                break
            cold = this.dice.random() < 0.3
            this.kill_one(kind, cold, at / rounds)
            if number % 20 == 19:
                print(f"{number + 1} of {kills}, {len(this.troubles)} troubles", file=sys.stderr)
            if number % 8 == 7:
                this.run("prune", "--keep-last-n", "3")
        this.troubles += the_same_from_nothing(this)
    except RuntimeError as err:
        this.troubles.append(str(err))  # a run that needs help: no use in going on
    except KeyboardInterrupt:
        print("interrupted: the report is of what was done", file=sys.stderr)
    return {
        "kills": sum(this.killed.values()), "by command": dict(this.killed),
        "in step": dict(this.in_step.most_common()), "seed": seed,
        "seconds": round(time.monotonic() - began), "troubles": this.troubles,
    }  # fmt: skip


def the_same_from_nothing(this: Trial) -> list[str]:
    """The last build again in a new folder with new caches: the same commit and files."""
    this.change()
    this.run("build", "--version", "9.last", "--skip-prune")
    other = this.root / "other"
    small = SmallOS(this.small.root, this.small.signer, this.root / "cold-cache")
    small.init(other)
    shutil.copytree(this.workdir / "overrides", other / "overrides", dirs_exist_ok=True)
    small.cosa(other, "build", "--version", "9.last", SOURCE_DATE_EPOCH=EPOCH)
    metas = [
        json.loads((folder / "builds/9.last/x86_64/meta.json").read_text())
        for folder in (this.workdir, other)
    ]
    if metas[0]["ostree-commit"] != metas[1]["ostree-commit"]:
        return ["the last commit is not what a new folder gives"]
    return [
        f"{name} of the last build is not what a new folder gives"
        for name, image in metas[0]["images"].items()
        if metas[1]["images"][name]["sha256"] != image["sha256"]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="kill cosa at random instants")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("folder", type=Path, help="a new folder, not on an overlay")
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    report = trial(given.folder.resolve(), given.kills, given.seed)
    print(json.dumps(report, indent=1))
    return 1 if report["troubles"] else 0


if __name__ == "__main__":
    sys.exit(main())
