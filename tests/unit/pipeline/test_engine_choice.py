"""The flow hands the engine on, and another engine makes another commit."""

import pytest
from quick import Steps, make_workdir

from cosa.compose import engine
from cosa.core.errors import CosaError
from cosa.pipeline.build import Options, build


@pytest.fixture
def workdir(tmp_path):
    return make_workdir(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.delenv("COSA_ENGINE", raising=False)
    made = Steps().install(monkeypatch.setattr)
    made.engines = []
    inner = made.compose

    def compose(job):
        made.engines.append(job.engine)
        return inner(job)

    monkeypatch.setattr("cosa.pipeline.make.compose", compose)
    return made


def test_another_engine_is_another_commit(workdir, steps, monkeypatch):
    build(workdir, Options())
    monkeypatch.setattr(engine, "inputs", lambda e: {} if e == "native" else {"engine": f"{e} 1"})
    outcome = build(workdir, Options(engine="rpm-ostree"))
    assert steps.engines == ["native", "rpm-ostree"]
    assert outcome.changed
    assert any("engine" in why for why in outcome.why)
    assert not build(workdir, Options(engine="rpm-ostree")).changed
    monkeypatch.setenv("COSA_ENGINE", "rpm-ostree")
    assert not build(workdir, Options()).changed


def test_an_engine_that_is_not_there_is_said_at_once(workdir, steps, monkeypatch):
    monkeypatch.setenv("PATH", str(workdir.root))
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(engine="rpm-ostree"))
    assert caught.value.code == "engine/missing"
    assert steps.calls == []
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(engine="other"))
    assert caught.value.code == "engine/unknown"
