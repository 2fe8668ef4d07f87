"""How errors read."""

from cosa.cli.errors import render
from cosa.core.errors import CosaError, ExitClass, Problem, Where


def test_one_error_says_what_where_why_and_next(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text("ref: x\npakages:\n  - bash\n")
    err = CosaError(
        "treefile/unknown-key", "unknown key 'pakages'", Where(str(path), 2, 1),
        why="no such key", fix="did you mean 'packages'?",
    )  # fmt: skip
    assert render(err).splitlines() == [
        f"error: {path}:2:1: unknown key 'pakages'",
        "  2 | pakages:",
        "    | ^^^^^^^",
        "  why    no such key",
        "  next   did you mean 'packages'?",
        "  code   treefile/unknown-key",
    ]


def test_all_problems_are_listed():
    problems = tuple(Problem(f"a/{n}", f"problem {n}", Where("f.yaml", n, 1)) for n in range(1, 4))
    text = render(CosaError("a/1", "the file is wrong", problems=problems))
    assert "the file is wrong (3 problems)" in text
    for n in range(1, 4):
        assert f"f.yaml:{n}:1: problem {n}" in text
        assert f"a/{n}" in text


def test_long_why_keeps_its_lines():
    text = render(CosaError("a/b", "x", why="one\ntwo", exit_class=ExitClass.STEP))
    assert "  why    one\n         two\n" in text


def test_text_from_outside_cannot_steer_the_terminal():
    text = render(CosaError("a/b", "name \x1b[2J", why="\x1b]0;title\x07\x9b1m"))
    assert not {"\x1b", "\x07", "\x9b"} & set(text)


def test_excerpt_of_a_long_line_shows_the_place(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("a" * 500 + "HERE" + "b" * 500)
    lines = render(CosaError("a/b", "x", Where(str(path), 1, 501))).splitlines()
    at = lines[2].index("^")
    assert lines[1][at : at + 4] == "HERE"
