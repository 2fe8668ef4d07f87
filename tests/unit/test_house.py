"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = sorted((CHECKOUT / "cosa").rglob("*.py"))
MODULE_LINES = 420
FUNCTION_LINES = 65


def names(path: Path) -> list[str]:
    """What a list file lists: one name a line, comments aside."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def tracked() -> list[Path]:
    """The project's own files: those git knows, or all of them in an exported tree."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [p for n in listing.stdout.decode().split("\0") if n and (p := CHECKOUT / n).is_file()]


def test_modules_and_functions_stay_readable():
    long = []
    for path in MODULES:
        text = path.read_text()
        if text.count("\n") > MODULE_LINES:
            long.append(f"{path.relative_to(CHECKOUT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long.append(f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}: {length}")
    assert not long, "\n".join(long)


def test_one_door_for_processes():
    doors = {"core/run.py"}
    calls = re.compile(
        r"subprocess\.(run|Popen|call|check_\w+)\(|os\.(system|popen|exec\w+|spawn\w+)\("
    )
    other = [
        str(path)
        for path in MODULES
        if calls.search(path.read_text())
        and path.relative_to(CHECKOUT / "cosa").as_posix() not in doors
    ]
    assert not other, f"processes are started through cosa/core/run.py only: {other}"


def test_no_registry_address_and_no_machine_path_is_committed():
    # Written in pieces, so that this file does not name what it forbids.
    hosts = ["pypi" + ".org", "deb.debian" + ".org", "proxy.golang" + ".org", "files.python" + "hosted",
             "registry.npmjs" + ".org", "static.crates" + ".io", "index.crates" + ".io"]  # fmt: skip
    paths = ["/wo" + "rk/main", "/wo" + "rk/shared", "/tm" + "p/w/"]
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(CHECKOUT)}: {word}" for word in hosts + paths if word in text]
    assert not found, "\n".join(found)


def test_requirements_are_pinned_by_hash_and_complete():
    folder = CHECKOUT / "assembler"
    text = (folder / "requirements.txt").read_text()
    blocks = re.split(r"\n(?=[a-z])", text.strip())
    assert all(
        re.match(r"[a-z0-9-]+==[\w.+!]+ ", block) and "--hash=sha256:" in block for block in blocks
    )
    assert "://" not in text
    assert not re.search(r"^\s*-(i|-index|-extra|-find)", text, re.MULTILINE)
    pinned = {block.partition("==")[0] for block in blocks}
    wanted = {name.lower() for name in names(folder / "requirements.in")}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {re.match(r"[\w-]+", line)[0].lower() for line in project}
    assert wanted <= pinned, "run assembler/lock.sh"
    assert needed <= wanted, "assembler/requirements.in lacks what pyproject.toml needs"


@pytest.mark.parametrize("family", ["debian", "fedora"])
def test_every_tool_has_its_reason(family: str):
    documented = (CHECKOUT / "docs/dependencies.md").read_text()
    tools = names(CHECKOUT / f"assembler/{family}.txt")
    assert tools == sorted(set(tools), key=str.lower) or tools == sorted(set(tools))
    reasons = set(re.findall(r"`([^`]+)`", documented))
    assert not set(tools) - reasons, "without a line in docs/dependencies.md"


def test_every_python_package_has_its_reason():
    documented = (CHECKOUT / "docs/dependencies.md").read_text()
    packages = set(names(CHECKOUT / "assembler/requirements.in"))
    assert not packages - set(re.findall(r"`([^`]+)`", documented))
