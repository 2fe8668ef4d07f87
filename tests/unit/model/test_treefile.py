"""Treefiles: merging, includes, conditions, variables, and everything that can be wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cosa.cli.main import main
from cosa.core import events
from cosa.core.errors import CosaError
from cosa.model import treefile_json
from cosa.model.treefile import Treefile, load_treefile
from cosa.model.treefile_keys import ALIASES, KEYS, RULES, TreeConfig

CHECKOUT = Path(__file__).resolve().parents[3]
GOLDEN = CHECKOUT / "tests" / "golden" / "treefiles"

type Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files by name; gives the path of the first."""

    def run(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / next(iter(files))

    return run


def flat(path: Path, basearch: str = "x86_64") -> dict[str, Any]:
    result = json.loads(load_treefile(path, basearch).to_flat_json())
    assert isinstance(result, dict)
    return result


def problems(path: Path) -> list[tuple[str, str, int, int]]:
    """(code, file, line, column) of everything that is wrong."""
    with pytest.raises(CosaError) as caught:
        load_treefile(path, "x86_64")
    return [
        (p.code.removeprefix("treefile/"), Path(p.where.path).name, p.where.line, p.where.column)
        for p in caught.value.problems
        if p.where
    ]


@pytest.mark.parametrize(
    "expected", sorted(GOLDEN.glob("*/expected.*.json")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_golden(expected: Path) -> None:
    top = next(expected.parent.glob("manifest.*"))
    basearch = expected.name.split(".")[1]
    assert load_treefile(top, basearch).to_flat_json() == expected.read_text()


def test_upstreams_own(shared_fixture: Callable[[str], Path]) -> None:
    folder = shared_fixture("treefiles")
    tree = load_treefile(folder / "fedora-coreos" / "manifest.yaml", "x86_64")
    assert tree.to_flat_json() == (folder / "fedora-coreos.flattened.x86_64.json").read_text()


def test_every_key_is_in_a_golden_and_in_the_documentation() -> None:
    text = (GOLDEN / "every-key" / "manifest.yaml").read_text()
    page = (CHECKOUT / "docs" / "treefile.md").read_text()
    for key in KEYS:
        written = key if f"\n{key}:" in text else key.replace("-", "_")
        assert key == "include" or f"\n{written}:" in text, key
        assert f"`{key}`" in page or f"`{written}`" in page, key
        assert RULES[KEYS[key]]


def test_a_treefile_has_every_key_as_attribute() -> None:
    consumed = {"variables", "include", "arch_include", "conditional_include"}
    assert set(TreeConfig.model_fields) - consumed <= {f.name for f in fields(Treefile)}


def test_defaults(write: Write) -> None:
    tree = load_treefile(write({"m.yaml": "# nothing\n"}), "x86_64")
    assert tree.to_flat_json() == '{\n  "packages": [],\n  "basearch": "x86_64"\n}'
    assert (tree.selinux, tree.recommends, tree.documentation) == (True, True, True)
    assert (tree.boot_location, tree.tmp_is_dir, tree.machineid_compat) == ("new", False, True)
    assert (tree.repos, tree.check_passwd.type, tree.name) == (None, "previous", None)
    with pytest.raises(AttributeError):
        tree.ref = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(tree)) == tree


@pytest.mark.parametrize(
    ("top", "a", "b", "key", "value"),
    [
        # the includer beats includes, an earlier include a later one
        ("ref: top", "ref: a", "ref: b", "ref", "top"),
        ("", "ref: a", "ref: b", "ref", "a"),
        ("selinux: false", "selinux: true", "", "selinux", False),
        ("container-cmd: [x]", "container-cmd: [y]", "", "container-cmd", ["x"]),
        # null is not a value
        ("ref:", "ref: a", "", "ref", "a"),
        # included lists go before what is there
        ("repos: [t]", "repos: [a]", "repos: [b]", "repos", ["b", "a", "t"]),
        ("units: [t]", "units: [a, t]", "", "units", ["a", "t", "t"]),
        ("", "install-langs: [a]", "install-langs: [b]", "install-langs", ["b", "a"]),
        # sets
        ("packages: [t, a]", "packages: [a]", "packages: [b]", "packages", ["a", "b", "t"]),
        ("", "ignore-removed-users: [z]", "ignore-removed-users: [y]", "ignore-removed-users",
         ["y", "z"]),
        # maps
        ("metadata: {k: t}", "metadata: {k: a, x: 1}", "metadata: {x: 2, y: 3}", "metadata",
         {"k": "t", "x": 1, "y": 3}),
        # a later entry takes packages away from earlier ones
        ("repo-packages: [{repo: t, packages: [p]}]",
         "repo-packages: [{repo: a, packages: [p q]}]",
         "repo-packages: [{repo: b, packages: [p]}]", "repo-packages",
         [{"repo": "a", "packages": ["q"]}, {"repo": "t", "packages": ["p"]}]),
        # only the top file's counts
        ("", "platform-module: a", "", "platform-module", None),
        ("", "repo-metadata: disabled", "", "repo-metadata", "disabled"),
        # implied in the file that says it, then merged like anything else
        ("tmp-is-dir: false", "edition: '2024'", "", "tmp-is-dir", False),
        ("edition: '2024'\ntmp-is-dir: false\nboot_location: new", "", "", "tmp-is-dir", True),
        ("container: true\nselinux: true", "", "", "selinux", False),
        ("container: true", "check-passwd: {type: file, filename: pw}", "", "check-passwd",
         {"type": "none"}),
        ("gpg_key: k", "gpg-key: a", "", "gpg-key", "k"),
    ],
)  # fmt: skip
def test_merging(write: Write, top: str, a: str, b: str, key: str, value: object) -> None:
    files = {"m.yaml": f"include: [a.yaml, b.yaml]\n{top}\n", "a.yaml": a, "b.yaml": b, "pw": ""}
    assert flat(write(files)).get(key) == value


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("a  b", ["a", "b"]),
        ("\"'podman >= 4.1' x\"", ["podman >= 4.1", "x"]),
        ("\"x 'a b'y\"", ["a b", "x", "y"]),
        ('""', []),
    ],
)
def test_package_names(write: Write, entry: str, names: list[str]) -> None:
    assert flat(write({"m.yaml": f"packages: [{entry}]"}))["packages"] == names


def test_packages_of_the_own_architecture_only(write: Write) -> None:
    text = "packages: [a]\npackages-x86_64: [b c]\npackages-riscv64: [d]\nbootstrap_packages: [e]"
    path = write({"m.yaml": text})
    assert flat(path)["packages"] == ["a", "b", "c", "e"]
    assert flat(path, "riscv64")["packages"] == ["a", "d", "e"]


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("n == 3", True), ("n != 3", False), ("n < 4", True), ("n <= 2", False),
        ("n > 2", True), ("n >= 4", False), ("  n==3 ", True),
        ("flag == true", True), ("flag != true", False), ('s == "x y"', True),
        ('s != "z"', True), ('basearch == "x86_64"', True), ("releasever == 41", True),
        ('[n == 3, "flag == false"]', False), ("[n == 3, n < 9]", True), ("[]", True),
    ],
)  # fmt: skip
def test_conditions(write: Write, condition: str, taken: bool) -> None:
    quoted = condition if condition.startswith("[") else f"'{condition}'"
    text = f"""
variables: {{n: 3, flag: true, s: x y}}
releasever: 41
conditional-include: [{{if: {quoted}, include: a.yaml}}]
"""
    assert ("ref" in flat(write({"m.yaml": text, "a.yaml": "ref: a"}))) is taken


@pytest.mark.parametrize(
    ("condition", "code", "what"),
    [
        ("m == 3", "undefined-variable", "'m' is not defined"),
        ("n == true", "condition", "'n' is a number, compared with true or false"),
        ('n == "3"', "condition", "compared with a string"),
        ('s < "y"', "condition", "compares numbers only"),
        ("flag > false", "condition", "compares numbers only"),
        ("n = 3", "condition", "'=' is no operator"),
        ("n ==", "condition", "is no condition"),
        ("n == x", "condition", "is no condition"),
        ("n == -1", "condition", "'-1' is no"),
        ("n == 99999999999999999999", "condition", "too big"),
    ],
)
def test_bad_conditions(write: Write, condition: str, code: str, what: str) -> None:
    text = f"variables: {{n: 3, flag: true, s: x}}\nconditional-include:\n  - if: '{condition}'\n"
    path = write({"m.yaml": f"{text}    include: a.yaml\n"})
    if what == "'-1' is no":
        what = "is no condition"
    with pytest.raises(CosaError) as caught:
        load_treefile(path, "x86_64")
    (problem,) = caught.value.problems
    assert problem.code == f"treefile/{code}"
    assert what in problem.what
    assert problem.where
    assert (problem.where.line, problem.where.column) == (3, 9)


def test_every_condition_is_looked_at(write: Write) -> None:
    text = "conditional-include:\n  - if: [a == 1, b == 2]\n    include: x.yaml\n"
    assert [p[:1] + p[2:] for p in problems(write({"m.yaml": text}))] == [
        ("undefined-variable", 2, 10),
        ("undefined-variable", 2, 18),
    ]


def test_variables(write: Write) -> None:
    files = {
        "m.yaml": "variables: {v: top}\ninclude: [a.yaml, b.yaml]\n"
        "ref: ${v}/${w}/${x}\nrepos: ['${v}']\npostprocess: ['${shell}']\npackages: ['${v}']\n",
        "a.yaml": "variables: {v: a, w: true}\n",
        # w comes from an earlier sibling, v from the includer, x is this file's own
        "b.yaml": "variables: {w: b, x: 7}\n"
        "conditional-include:\n  - {if: w == true, include: c.yaml}\n"
        '  - {if: v == "top", include: d.yaml}\n',
        "c.yaml": "units: [c]",
        "d.yaml": "units: [d]",
    }
    tree = load_treefile(write(files), "x86_64")
    assert tree.ref == "top/true/7"
    assert tree.units == ("d", "c")
    assert (tree.repos, tree.postprocess) == (("${v}",), ("${shell}",))
    assert tree.packages == ("${v}",)
    assert tree.variables == {"v": "top", "w": True, "x": 7, "basearch": "x86_64"}


def test_where_variables_are_substituted(write: Write) -> None:
    text = """
variables: {v: V}
rojig: {name: "${v}", summary: "${v}", description: "${v}", license: "${v}"}
metadata: {a: "${v}", b: ["${v}"]}
add-commit-metadata: {a: "x${v}y${v}", b: {c: "${v}"}}
automatic-version-prefix: ${v}
mutate-os-release: ${v}
platform-module: ${v}
default-target: ${v}
"""
    result = flat(write({"m.yaml": text}))
    assert result["rojig"] == {
        "name": "V", "summary": "V", "license": "${v}", "description": "V",
    }  # fmt: skip
    assert result["metadata"] == {"a": "V", "b": ["${v}"]}
    assert result["add-commit-metadata"] == {"a": "xVyV", "b": {"c": "${v}"}}
    keys = ("automatic-version-prefix", "mutate-os-release", "platform-module", "default-target")
    assert [result[key] for key in keys] == ["V", "V", "V", "${v}"]


def test_undefined_variable_in_a_value(write: Write) -> None:
    files = {"m.yaml": "include: a.yaml\n", "a.yaml": "variables: {stream: x}\nref: a/${strem}\n"}
    with pytest.raises(CosaError) as caught:
        load_treefile(write(files), "x86_64")
    (problem,) = caught.value.problems
    assert problem.code == "treefile/undefined-variable"
    assert str(problem.where).endswith("a.yaml:2:6")
    assert problem.fix == "did you mean 'stream'?"


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("pakages: [a]", "unknown-key", 1),
        ("selinux: yes", "wrong-type", 10),
        ("ref: 41", "wrong-type", 6),
        ("packages: bash", "wrong-type", 11),
        ("packages: [1]", "wrong-type", 12),
        ("packages-x86_64: bash", "wrong-type", 18),
        ("packages-aarch64: [a, 1]", "wrong-type", 23),
        ('packages: ["\'a b"]', "quote", 12),
        ('repo-packages: [{repo: r, packages: ["\'a"]}]', "quote", 38),
        ("repo-packages: [{repo: r}]", "missing-key", 17),
        ("edition: 2024", "wrong-value", 10),
        ("edition: '2023'", "wrong-value", 10),
        ("boot-location: both", "wrong-value", 16),
        ("boot_location: both", "wrong-value", 16),
        ("releasever: 4.1", "wrong-type", 13),
        ("releasever: -4", "wrong-value", 13),
        ("variables: {a: 1.5}", "wrong-type", 16),
        ("variables: {basearch: x}", "reserved-variable", 23),
        ("variables: {releasever: 1}", "reserved-variable", 25),
        ("variables: {a: 'x${b}'}", "bad-variable", 16),
        ("repovars: {releasever: '4'}", "reserved-variable", 24),
        ("basearch: s390x", "basearch", 11),
        ("selinux-label-version: 2", "wrong-value", 24),
        ("automatic-version-suffix: ab", "wrong-value", 27),
        ("rojig: {name: a, summary: b}", "missing-key", 8),
        ("check-passwd: {type: fil}", "wrong-value", 22),
        ("check-passwd: {type: file}", "missing-key", 15),
        ("check-groups: {type: data, entries: {a: [1]}}", "wrong-type", 41),
        ("check-passwd: {type: data, entries: {a: [1, 2, 3]}}", "wrong-value", 41),
        ("add-files: [[m.yaml, /opt/x]]", "add-files", 22),
        ("add-files: [[m.yaml, usr/local/x]]", "add-files", 22),
        ("add-files: [[m.yaml, usr/../x]]", "add-files", 22),
        ("add-files: [[m.yaml]]", "missing-key", 13),
        ("add-files: [[none, usr/x]]", "missing-file", 14),
        ("remove-files: [/usr/x]", "remove-files", 16),
        ("remove-files: [usr/../x]", "remove-files", 16),
        ("remove-from-packages: [[]]", "wrong-value", 24),
        ("postprocess-script: none", "missing-file", 21),
        ("postprocess-script: m.yaml", "not-executable", 21),
        ("override-remove: [a]", "client-only", 1),
        ("packages-local: {a: b}", "client-only", 1),
        ("gpg_key: a\ngpg-key: b", "both-forms", 1),
        ("default-target: a\ndefault_target: b", "both-forms", 1),
        ("metadata: {a: 99999999999999999999}", "wrong-value", 15),
        ("include: none.yaml", "missing-include", 10),
        ("include: [none.yaml]", "missing-include", 11),
        ("arch-include: {x86_64: none.yaml}", "missing-include", 24),
        ("include: ''", "missing-include", 10),
        ('include: "a\\0b"', "missing-include", 10),
        ('postprocess-script: "a\\0b"', "missing-file", 21),
        ("include: m.yaml", "include-cycle", 10),
        ("include: list.ks", "kickstart", 0),
        ("include: list.yaml", "wrong-type", 1),
        ("conditional-include: [{if: [], include: {includ: x}}]", "unknown-key", 42),
        ("conditional-include: [{if: [], include: {include: x}}]", "inline", 42),
        ("conditional-include: [{if: []}]", "missing-key", 23),
        ("machineid-compat: false\nunits: [a]", "units", 8),
        ("check-passwd: {type: file, filename: m.yaml}", "mixed-checks", 15),
    ],
)
def test_bad_files(write: Write, line: str, code: str, column: int) -> None:
    found = problems(write({"m.yaml": f"{line}\n", "list.yaml": "[a]", "list.ks": ""}))
    assert [(one[0], one[3]) for one in found] == [(code, column)]


def test_all_problems_of_all_files_at_once(write: Write) -> None:
    files = {
        "m.yaml": "pakages: [a]\ninclude: [a.yaml, gone.yaml, b.json, a.yaml]\nref: ${x}\n",
        "a.yaml": "include: sub/c.yaml\nselinux: off\n",
        "b.json": '{"units": [1],\n "packages-x86_64": 5}',
        "sub/c.yaml": "include: ../m.yaml\nunits: [a\n",
        "sub/d.yaml": "",
    }
    assert problems(write(files)) == [
        ("wrong-type", "a.yaml", 2, 10),
        ("wrong-type", "b.json", 1, 12),
        ("wrong-type", "b.json", 2, 21),
        ("unknown-key", "m.yaml", 1, 1),
        ("missing-include", "m.yaml", 2, 19),
        ("include-twice", "m.yaml", 2, 38),
        ("undefined-variable", "m.yaml", 3, 6),
        ("document/syntax", "c.yaml", 3, 1),
    ]


def test_a_cycle_names_its_way(write: Write) -> None:
    files = {"m.yaml": "include: a.yaml", "a.yaml": "include: b.yaml", "b.yaml": "include: m.yaml"}
    with pytest.raises(CosaError) as caught:
        load_treefile(write(files), "x86_64")
    (problem,) = caught.value.problems
    names = [Path(part).name for part in problem.why.split(" includes ")]
    assert names == ["m.yaml", "a.yaml", "b.yaml", "m.yaml"]


def test_one_file_under_two_names_is_included_twice(write: Write, tmp_path: Path) -> None:
    top = write({"m.yaml": "include: [a.yaml, b.yaml]", "a.yaml": ""})
    (tmp_path / "b.yaml").hardlink_to(tmp_path / "a.yaml")
    assert problems(top) == [("include-twice", "m.yaml", 1, 19)]


def test_depth(write: Write) -> None:
    files = {f"{n}.yaml": f"include: {n + 1}.yaml\nunits: [u{n}]" for n in range(50)}
    assert len(load_treefile(write(files | {"50.yaml": "ref: end"}), "x86_64").files) == 51
    files |= {"50.yaml": "include: 51.yaml", "51.yaml": ""}
    assert problems(write(files)) == [("too-deep", "50.yaml", 1, 10)]


def test_a_missing_top_file(tmp_path: Path) -> None:
    with pytest.raises(CosaError) as caught:
        load_treefile(tmp_path / "none.yaml", "x86_64")
    assert caught.value.code == "treefile/missing"


def test_json_ignores_unknown_keys(write: Write) -> None:
    text = '{"comment": 1, "packages": ["b", "a"], "check-passwd": {"type": "none", "x": 1}}'
    result = flat(write({"m.json": text}))
    assert result == {
        "packages": ["a", "b"], "basearch": "x86_64", "check-passwd": {"type": "none"},
        "comment": 1,
    }  # fmt: skip


def test_files_are_found_from_the_treefile_that_names_them() -> None:
    top = GOLDEN / "layers" / "manifest.yaml"
    tree = load_treefile(top, "x86_64")
    parts = top.parent / "parts"
    assert tree.directory == top.parent
    assert tree.postprocess_script == top.parent / "finish.sh"
    # Both entries name `motd`; the included treefile's file serves both.
    assert tree.add_files == (
        (parts / "motd", "/usr/lib/motd.d/base"),
        (parts / "motd", "/etc/motd"),
    )
    assert (tree.check_passwd.type, tree.check_passwd.path) == ("file", parts / "passwd")
    assert tree.check_groups.path == parts / "net/group"
    names = {str(path.relative_to(top.parent)) for path in tree.files}
    assert names == {
        "manifest.yaml", "parts/base.yaml", "parts/extra.json", "parts/small.yaml",
        "parts/net/new.yaml", "parts/net/older.yaml", "finish.sh", "parts/motd", "parts/passwd",
        "parts/net/group",
    }  # fmt: skip


def test_finalize_d(write: Write, tmp_path: Path) -> None:
    top = write({"m.yaml": "include: p/a.yaml", "p/a.yaml": "", "p/finalize.d/20-b": "",
                 "finalize.d/10-a": "", "finalize.d/20-b": "", "finalize.d/README": ""})  # fmt: skip
    for name in ("p/finalize.d/20-b", "finalize.d/10-a", "finalize.d/20-b"):
        (tmp_path / name).chmod(0o755)
    tree = load_treefile(top, "x86_64")
    assert tree.finalize_d == (tmp_path / "finalize.d/10-a", tmp_path / "p/finalize.d/20-b")


def test_ids(write: Write) -> None:
    text = (
        "check-passwd: {type: data, entries: {a: 1, b: [2], c: [3, 4]}}\n"
        "check-groups: {type: data, entries: {g: 5}}"
    )
    tree = load_treefile(write({"m.yaml": text}), "x86_64")
    assert tree.check_passwd.entries == {"a": (1, 1), "b": (2, 2), "c": (3, 4)}
    assert tree.check_groups.entries == {"g": (5,)}


def test_what_is_lost_in_place_is_warned_of(write: Write) -> None:
    text = (
        "conditional-include:\n  - if: []\n    include:\n      packages: [a b]\n"
        "      packages-x86_64: [c]\n      variables: {x: 1}\n"
    )
    warnings: list[str] = []
    with events.sink(lambda event: warnings.append(event.text)):
        assert flat(write({"m.yaml": text}))["packages"] == ["a b"]
    assert [text.split(": ")[0].split("m.yaml:")[1] for text in warnings] == ["4:17", "5:7", "6:7"]


def test_name_and_summary(write: Write) -> None:
    text = "metadata: {name: scos, summary: Words}\n"
    tree = load_treefile(write({"m.yaml": text}), "x86_64")
    assert (tree.name, tree.summary) == ("scos", "Words")


@pytest.mark.parametrize("basearch", ["x86_64", "aarch64", "s390x"])
@pytest.mark.parametrize("name", ["standin", "fedora-coreos", "okd"])
def test_our_own_manifests(name: str, basearch: str) -> None:
    tree = load_treefile(CHECKOUT / "manifests" / name / "manifest.yaml", basearch)
    assert tree.packages
    assert tree.ref
    assert tree.automatic_version_prefix
    layers = {layer.removeprefix("overlay/") for layer in tree.ostree_layers}
    folders = [path.parent / "overlay.d" for path in tree.files]
    folders += [folder.parents[1] / "overlay.d" for folder in folders]
    assert all(any((folder / layer).is_dir() for folder in folders) for layer in layers)


def test_the_command_prints_nothing_but_the_treefile(capsys: pytest.CaptureFixture[str]) -> None:
    top = GOLDEN / "layers" / "manifest.yaml"
    assert main(["manifest", "--flatten", str(top), "--basearch", "s390x"]) == 0
    assert capsys.readouterr().out == (top.parent / "expected.s390x.json").read_text()


def test_aliases_are_keys() -> None:
    assert set(ALIASES.values()) <= set(KEYS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (1.5, "1.5"), (-2.25, "-2.25"),
        (1e15, "1000000000000000.0"), (1e16, "1e16"), (1.5e16, "1.5e16"), (1e300, "1e300"),
        (0.1, "0.1"), (1e-5, "0.00001"), (1e-6, "1e-6"), (1.25e-7, "1.25e-7"),
        (123456.789, "123456.789"), (5e-324, "5e-324"), (float("inf"), "null"),
    ],
)  # fmt: skip
def test_numbers_print_as_upstreams(value: float, text: str) -> None:
    assert treefile_json.dumps(value) == text
