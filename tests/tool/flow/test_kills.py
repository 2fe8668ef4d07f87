"""A few random kills; many more by hand: `python3 tests/tool/flow/kills.py --kills 200 FOLDER`."""

import kills

KILLS = 8


def test_killed_at_random_instants(place):
    report = kills.trial(place / "trial", KILLS, seed=1)
    assert report["troubles"] == []
    assert report["kills"] == KILLS
