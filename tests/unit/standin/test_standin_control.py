import pytest

from cosa.core.errors import CosaError
from cosa.standin import control
from cosa.standin.control import Relation


def test_relations():
    text = "libc6 (>= 2.38), default-mta | mail-transport-agent,\n perl:any (>= 5), x (<2)"
    assert control.parse_relations(text) == [
        (Relation("libc6", ">=", "2.38"),),
        (Relation("default-mta"), Relation("mail-transport-agent")),
        (Relation("perl", ">=", "5", "any"),),
        (Relation("x", "<=", "2"),),
    ]


@pytest.mark.parametrize("text", ["a (>= )", "a (~ 1)", "A_B", "a b", "a (>= 1", "a |"])
def test_unreadable_relations_are_refused(text):
    with pytest.raises(CosaError) as caught:
        control.parse_relations(text)
    assert caught.value.code == "standin/control"


def test_paragraphs_fold_and_ignore_case():
    one, two = control.parse("Package: a\nDescription: x\n y\n .\n z\n\n\nPACKAGE: b\n")
    assert one["description"] == "x\ny\n.\nz"
    assert two.name == "b"


@pytest.mark.parametrize(
    "text",
    [
        " folded first\n",
        "no colon here\n",
        "Package: a\nPackage: b\n",
        "Package: a\nVersion: 1\n",
        "Package: a/b\nVersion: 1\nArchitecture: all\n",
        "Package: a\nVersion: 1\nArchitecture: ../x\n",
        "",
    ],
)
def test_bad_control_is_refused(text):
    with pytest.raises(CosaError) as caught:
        control.parse_one(text)
    assert caught.value.code == "standin/control"
