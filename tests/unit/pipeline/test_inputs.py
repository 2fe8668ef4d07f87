"""Every input counts: each file of a definition, each package, each tool is changed in turn.

The files are found by walking the definition, so one that nothing counts is noticed: it must be
named in `EXEMPT`, with the reason.
"""

import ast
import hashlib
import json
import os
import re
import shutil
from itertools import pairwise

import pytest

from cosa.compose import inputs as compose_inputs
from cosa.compose.resolve import Resolution
from cosa.core import codeid, fs
from cosa.images import inputs as image_inputs
from cosa.model.package import Package
from cosa.pipeline import changes, definition, inputs
from cosa.pipeline.initialise import Source, init
from cosa.pipeline.workdir import Workdir
from cosa.tools import programs

FILES = {
    "manifest.yaml": """\
ref: test/x86_64/stable
releasever: "1"
automatic-version-prefix: "${releasever}.<date:%Y%m%d>.dev"
include: base.yaml
rojig: {name: testos, summary: For tests, license: MIT}
repos: [r]
packages: [bash]
ostree-layers: [overlay/05core]
ostree-override-layers: [overlay/90over]
add-files: [[motd, /etc/motd]]
postprocess-script: post.sh
check-passwd: {type: file, filename: passwd}
check-groups: {type: file, filename: group}
""",
    "base.yaml": 'variables: {stream: dev}\npostprocess: ["#!/bin/sh\\nexit 0\\n"]\n',
    "image.yaml": "size: 10\nextra-kargs: [a]\ninclude: image-base.yaml\n",
    "image-base.yaml": "rootfs: ext4\n",
    "platforms.yaml": "x86_64: {qemu: {kernel_arguments: [console=ttyS0]}}\n",
    "motd": "hello\n",
    "post.sh": "#!/bin/sh\nexit 0\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "overlay.d/05core/statoverride": "=384 /usr/lib/a\n",
    "overlay.d/05core/usr/lib/a": "a",
    "overlay.d/90over/usr/lib/b": "b",
    "overlay.d/10unused/usr/lib/c": "c",
    "README.md": "words",
}
EXEMPT = {
    "README.md": "nothing refers to it",
    "overlay.d/10unused/usr/lib/c": "no treefile names the layer",
}
# Where a comment can be added without a change of meaning: what counts is what is meant.
EDITS = {
    "manifest.yaml": ("bash", "zsh"),
    "base.yaml": ("exit 0", "exit 1"),
    "image.yaml": ("10", "12"),
    "image-base.yaml": ("ext4", "xfs"),
    "platforms.yaml": ("ttyS0", "ttyS1"),
    "overlay.d/05core/statoverride": ("384", "420"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workdir(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("COSA_CACHE", str(cache))
    config = tmp_path / "config"
    for name, text in FILES.items():
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).write_text(text)
    (config / "post.sh").chmod(0o755)
    (config / "overlay.d/05core/usr/lib/link").symlink_to("a")
    found = Workdir(tmp_path / "w")
    init(found, Source(str(config)))
    place = found.overrides / "rootfs/usr/lib/over"
    place.parent.mkdir(parents=True)
    place.write_text("over")
    return found


def package(name="bash", version="5", text="x"):
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return Package(
        name=name, epoch="0", version=version, release="1", arch="noarch", repo="r",
        location=f"{name}.rpm", digest=digest, size=1000, sourcerpm=name,
    )  # fmt: skip


def forget():
    """As a process that has just begun: nothing is remembered of tools and code."""
    for function in (image_inputs._modules, compose_inputs.tool_versions, codeid.modules_behind):
        function.cache_clear()


def table(workdir, *packages):
    """The inputs as a build has them."""
    found = definition.load(workdir, "x86_64")
    work = workdir.tmp / "work"
    shutil.rmtree(work, ignore_errors=True)
    layers = {"usr-share-cosa": definition.share_layer(found, work)}
    resolution = Resolution(packages or (package(),), (("r", 0),))
    return inputs.inputs_of(found, resolution, layers)


def test_the_same_again_and_as_the_record_reads_it(workdir):
    first = table(workdir)
    assert table(workdir) == first
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_definition_counts(workdir, name):
    before = table(workdir)
    path = workdir.config / name
    old, new = EDITS.get(name, ("", ""))
    text = path.read_text()
    path.write_text(text.replace(old, new) if old else text + "more\n")
    assert path.read_text() != text
    assert (table(workdir) == before) == (name in EXEMPT), name


def test_names_and_modes_count(workdir):
    seen = [table(workdir)]
    path = workdir.config / "overlay.d/90over/usr/lib/b"
    path.chmod(0o755)
    seen.append(table(workdir))
    path.rename(path.with_name("other"))
    seen.append(table(workdir))
    (path.parent / "empty").mkdir()
    seen.append(table(workdir))
    assert all(a != b for a, b in pairwise(seen))


def test_a_link_counts_by_its_target(workdir):
    before = table(workdir)
    link = workdir.config / "overlay.d/05core/usr/lib/link"
    link.unlink()
    link.symlink_to("b")
    found = changes.compare(before, table(workdir))
    assert [c.subject for c in found] == ["overlay.d/05core: usr/lib/link"]


def test_overrides_count(workdir):
    before = table(workdir)
    (workdir.overrides / "rootfs/usr/lib/over").write_text("else")
    found = changes.texts(before, table(workdir))
    assert found == ["overrides/rootfs: usr/lib/over changed"]
    shutil.rmtree(workdir.overrides / "rootfs/usr")
    assert table(workdir) != before


@pytest.mark.parametrize(
    ("packages", "text"),
    [
        ((package(version="6"),), "package bash 5-1.noarch -> 6-1.noarch"),
        ((package(text="rebuilt"),), "package bash changed"),
        ((package(), package("vim", "9")), "package vim is new (9-1.noarch)"),
    ],
)
def test_packages_count(workdir, packages, text):
    before = table(workdir)
    assert changes.texts(before, table(workdir, *packages)) == [text]


@pytest.mark.parametrize(
    ("module", "name", "value", "areas"),
    [
        (compose_inputs.ostree, "version", lambda: "1999.1", {"compose", "container"}),
        (inputs, "engine_version", lambda: "another", {"container"}),
        (programs, "library_digest", lambda _name: "another", {"compose"}),
        (image_inputs.grub, "with_dependencies", lambda _names: (), {"image"}),
    ],
)
def test_tools_count_where_they_are_used(workdir, monkeypatch, module, name, value, areas):
    forget()
    before = table(workdir)
    forget()
    monkeypatch.setattr(module, name, value)
    assert {change.area for change in changes.compare(before, table(workdir))} == areas


def test_programs_count_by_file_and_version(workdir, tmp_path, monkeypatch):
    before = table(workdir)
    other = tmp_path / "bin/mke2fs"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho mke2fs 9.99.9\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    found = changes.compare(before, table(workdir))
    assert [c.name for c in found] == ["program mke2fs"]
    assert found[0].text.endswith("-> 9.99.9")
    other.write_text(other.read_text() + "# patched\n")
    patched = changes.compare(before, table(workdir))
    assert patched[0].new != found[0].new


@pytest.mark.parametrize(
    ("name", "areas"),
    [
        ("compose/layers.py", {"compose"}),
        ("compose/tasks.py", {"compose"}),  # named by workers only
        ("container/archive.py", {"container"}),
        ("images/formats/qcow2.py", {"image"}),
        ("core/fs.py", {"compose", "container", "image"}),
        ("pipeline/artefacts.py", {"container", "image"}),
        ("cli/helptext.py", set()),
        ("compose/fetch.py", set()),  # packages are inputs themselves
    ],
)
def test_our_own_code_counts_where_it_is_used(workdir, monkeypatch, tmp_path, name, areas):
    forget()
    before = table(workdir)
    forget()
    copy = tmp_path / "copy/cosa"
    shutil.copytree(codeid._ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / name).open("a") as file:
        file.write("# changed\n")
    monkeypatch.setattr(codeid, "_ROOT", copy)
    inputs._flow.cache_clear()
    monkeypatch.setattr(inputs.cosa, "__file__", str(copy / "__init__.py"))
    try:
        found = changes.compare(before, table(workdir))
    finally:
        inputs._flow.cache_clear()
    assert {change.area for change in found} == areas


def test_version_time_and_place_name_a_build_and_cause_none(workdir, tmp_path, monkeypatch):
    before = table(workdir)
    monkeypatch.setenv("COSA_FAKE_TIME", "86400")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    moved = tmp_path / "elsewhere"
    shutil.copytree(workdir.config.resolve(), moved, symlinks=True)
    workdir.config.unlink()
    workdir.config.symlink_to(moved)
    assert table(workdir) == before


def test_a_program_that_is_missing_is_an_answer(monkeypatch):
    assert programs.identities(["no-such-program"]) == {"no-such-program": "absent"}


def test_answers_are_remembered(tmp_path, monkeypatch):
    memory = tmp_path / "memory.json"
    first = programs.identities(["mke2fs"], memory)
    monkeypatch.setattr(programs, "_identity", lambda *_: "asked again")
    assert programs.identities(["mke2fs"], memory) == first
    memory.write_text("{damaged")
    assert programs.identities(["mke2fs"], memory) == {"mke2fs": "asked again"}
    fs.atomic_write(memory, "[]")
    assert programs.identities(["mke2fs"], memory) == {"mke2fs": "asked again"}


def programs_in(modules):
    """Programs that begin a list in the source: how every command line here is written."""
    found = set()
    for name in modules:
        for node in ast.walk(ast.parse((codeid._ROOT / name).read_text())):
            if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant):
                word = str(node.elts[0].value)
                if re.fullmatch(r"[a-z][a-z0-9.-]+", word) and shutil.which(word):
                    found.add(word)
    return found


def test_every_program_that_makes_a_disk_is_counted(workdir):
    used = programs_in(codeid.modules_behind(*image_inputs._CODE))
    assert len(used) > 5
    counted = {name.removeprefix("program ") for name in table(workdir)["image"]}
    assert used - counted - {"ostree"} == set(), "(ostree/ is a folder there)"
