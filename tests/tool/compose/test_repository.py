"""One OSTree repository, many writers at once: processes and threads, as a compose has them."""

import stat
import subprocess
import sys
import threading

from cosa.compose import importer
from cosa.tools import ostree

# Mixes what runs side by side: transactions that set refs, and imports, which have none.
HAMMER = """
import stat, sys
from pathlib import Path
from cosa.tools import ostree

repo = ostree.Repo.ensure(Path(sys.argv[1]), "bare")
repo.raw.set_disable_fsync(True)
who = sys.argv[2]

def commit(name):
    root = ostree.TreeNode()
    root.describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    folder = root.folder(name)
    folder.describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    return repo.write_commit(root, ostree.variant("a{sv}", {}), timestamp=0)

for number in range(40):
    commit(f"import-{who}-{number}")
    with repo.transaction():
        repo.set_refs({f"w{who}/{number}": commit(f"set-{who}-{number}")})
"""


def fsck(repo):
    subprocess.run(["ostree", "fsck", "--quiet", f"--repo={repo}"], check=True, capture_output=True)


def test_many_processes_write_at_once(tmp_path):
    repo = tmp_path / "repo"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(repo), str(number)],
            stderr=subprocess.PIPE, text=True,
        )
        for number in range(8)
    ]  # fmt: skip
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * 8, "\n".join(said)
    assert len(ostree.Repo(repo).list_refs()) == 8 * 40
    fsck(repo)
    assert not list((repo / "tmp").glob("staging-*"))


def test_threads_take_turns(tmp_path):
    """Durable refs of new imports are set while the next stage commits its overlays."""
    repo = importer.open_cache(tmp_path / "cache")
    root = ostree.TreeNode()
    root.describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    commit = repo.write_commit(root, ostree.variant("a{sv}", {}), timestamp=0)
    errors = []

    def finish(name):
        try:
            for number in range(20):
                importer.finish(repo, {f"{name}/{number}": commit})
        except Exception as err:
            errors.append(err)

    threads = [threading.Thread(target=finish, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(repo.list_refs()) == 60
