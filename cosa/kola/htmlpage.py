"""The report as a page for people: one file for the run, one for each test, nothing from outside.

`index.html` has the verdicts, reasons, times and history; `pages/TEST.html` a
test's output, the boot of its machines phase by phase, console, journal and
Ignition config.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from cosa.core import fs
from cosa.kola.history import Past
from cosa.kola.judges import plain
from cosa.kola.outcome import RESULTS, Outcome, counts, verdict
from cosa.kola.report import TIMELINE

_LOGS = ("console.txt", "journal.txt", "ignition.json", "ignition-virtio-dump.txt", "qemu.txt")
_SHOWN = 2_000_000  # characters of a log on a page; the file beside has it whole
_PAST = 20  # runs in a test's history
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ok: #2a8f4f; --bad: #c9302c; --warn: #c77f00;
  --dim: #888; --flake: #8a5cc2 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
p.sum { color: var(--dim); margin-top: 0 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); vertical-align: top } th { font-weight: 600 }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.b { border-radius: .3rem; color: #fff; font-size: .8rem; font-weight: 600; padding: .1rem .45rem }
.PASS { background: var(--ok) } .FAIL { background: var(--bad) } .WARN { background: var(--warn) }
.SKIP { background: var(--dim) } .FLAKE { background: var(--flake) }
.why { color: var(--dim); overflow-wrap: anywhere } .h i { display: inline-block; width: .55rem;
  height: .9rem; margin-right: 1px; border-radius: 1px } a { color: inherit }
.bar { display: flex; height: .8rem; min-width: 8rem; margin-top: .35rem }
.bar span { min-width: 1px } .setup { background: #5b8def } .test { background: #f0a35e }
.ph { display: grid; grid-template-columns: 7rem 1fr 5rem; gap: .2rem .8rem; max-width: 46rem }
.ph div.t { background: #8882 } .ph div.t span { display: block; height: 1.1rem;
  background: #5b8def }
pre { background: #8881; border: 1px solid var(--line); border-radius: .4rem; overflow: auto;
  padding: .7rem; max-height: 40rem; font-size: .82rem; white-space: pre-wrap;
  overflow-wrap: anywhere } summary { cursor: pointer; font-weight: 600; margin: .6rem 0 }
"""


def write(
    folder: Path, outcomes: Sequence[Outcome], version: str, past: Sequence[Past] = ()
) -> None:
    """The page and the tests' pages below `folder`."""
    pages = folder / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        text = _page(outcome.name, _test(folder, outcome, past), f"{outcome.result}: ")
        fs.atomic_write(pages / _file(outcome), text)
    fs.atomic_write(folder / "index.html", _page("kola", _index(outcomes, version, past)))


def _page(title: str, body: str, before: str = "") -> str:
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(before + title)}</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _index(outcomes: Sequence[Outcome], version: str, past: Sequence[Past]) -> str:
    longest = max((o.setup + o.seconds for o in outcomes), default=1) or 1
    ordered = sorted(outcomes, key=lambda o: (-o.rank, o.name))
    rows = "".join(_row(outcome, longest, past) for outcome in ordered)
    total = sum(outcome.setup + outcome.seconds for outcome in outcomes)
    when = _day(past[-1].time) if past else ""
    words = ", ".join(
        filter(None, (f"build {version}" if version else "a lone image", counts(outcomes), when))
    )
    return (
        f"<h1>{_badge(verdict(outcomes))} kola</h1><p class='sum'>{escape(words)};"
        f" machines and tests took {total:.0f} s in all</p>"
        "<table><thead><tr><th>result</th><th>test</th><th>machine</th><th>set-up</th>"
        "<th>test</th><th>time</th><th>earlier runs</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _row(outcome: Outcome, longest: float, past: Sequence[Past]) -> str:
    reason = outcome.reason if outcome.result != "PASS" else ""
    why = f"<div class='why'>{escape(reason)}</div>" if reason else ""
    link = f"pages/{quote(_file(outcome))}"
    parts = (("setup", outcome.setup), ("test", outcome.seconds))
    bar = "".join(
        f"<span class='{k}' style='width:{100 * s / longest:.1f}%'></span>" for k, s in parts
    )
    return (
        f"<tr><td>{_badge(outcome.result)}</td>"
        f"<td><a href='{link}'>{escape(outcome.full_name)}</a>{why}</td>"
        f"<td>{escape(outcome.machine)}</td><td class='n'>{outcome.setup:.1f} s</td>"
        f"<td class='n'>{outcome.seconds:.1f} s</td><td><div class='bar'>{bar}</div></td>"
        f"<td class='h'>{_squares(outcome.name, past)}</td></tr>"
    )


def _squares(name: str, past: Iterable[Past]) -> str:
    runs = [(run, *run.results[name]) for run in past if name in run.results][-_PAST:]
    return "".join(
        f"<i class='{result if result in RESULTS else 'SKIP'}'"
        f" title='{escape(run.build, quote=True)} {_day(run.time)}: {escape(result)}"
        f", {seconds:.0f} s'></i>"
        for run, result, seconds in runs
    )


def _test(folder: Path, outcome: Outcome, past: Sequence[Past]) -> str:
    facts = ", ".join(
        filter(
            None,
            (
                f"machine {outcome.machine}" if outcome.machine else "",
                f"set-up {outcome.setup:.1f} s", f"test {outcome.seconds:.1f} s",
            ),
        )
    )  # fmt: skip
    parts = [
        "<p><a href='../index.html'>all tests</a></p>",
        f"<h1>{_badge(outcome.result)} {escape(outcome.full_name)}</h1>",
        f"<p class='sum'>{escape(facts)}</p>",
        f"<p class='h'>{_squares(outcome.name, past)}</p>",
    ]
    if outcome.output:
        parts.append(f"<h2>What it said</h2><pre>{_text(chr(10).join(outcome.output))}</pre>")
    failed = outcome.result == "FAIL"
    parts += [_machine(folder, place, failed=failed) for place in outcome.folders]
    return "".join(parts)


def _machine(folder: Path, place: Path, *, failed: bool) -> str:
    if not place.is_dir():
        return ""
    parts = [f"<h2>Machine {escape(place.name)}</h2>", _phases(place / TIMELINE)]
    own = sorted(
        path.name for path in place.glob("*.txt") if path.name not in _LOGS
    )  # an external test's own log
    for name in (*own, *_LOGS):
        path = place / name
        if not path.is_file():
            continue
        text = path.read_text("utf-8", "replace")
        cut = "the last of it: " if len(text) > _SHOWN else ""
        lines = "\n".join(map(plain, text[-_SHOWN:].split("\n")))
        link = _link(folder, path)
        # What is looked at first is open: the test's own words, else the console.
        shown = " open" if name in own or (failed and not own and name == _LOGS[0]) else ""
        parts.append(
            f"<details{shown}><summary>{escape(name)} ({cut}{len(text) // 1024} KiB)</summary>"
            f"{link}<pre>{_text(lines)}</pre></details>"
        )
    return "".join(parts)


def _link(folder: Path, path: Path) -> str:
    if not path.is_relative_to(folder):
        return ""
    return f"<p><a href='../{quote(str(path.relative_to(folder)))}'>the file</a></p>"


def _phases(path: Path) -> str:
    """How long each phase of the boots took, as bars."""
    try:
        times = [(str(name), float(at)) for name, at in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return ""
    ends = [at for _, at in times[1:]]
    spans = [(name, at, end - at) for (name, at), end in zip(times, ends, strict=False)]
    whole = times[-1][1] if times else 0
    if not spans or whole <= 0:
        return ""
    rows = "".join(
        f"<div>{escape(name)}</div><div class='t'><span style='margin-left:{100 * at / whole:.1f}%;"
        f"width:{100 * took / whole:.1f}%'></span></div><div>{took:.1f} s</div>"
        for name, at, took in spans
    )
    return f"<div class='ph'>{rows}</div>"


def _badge(result: str) -> str:
    return f"<span class='b {result}'>{result}</span>"


def _text(text: str) -> str:
    return escape(text.replace("\0", ""), quote=False)


def _file(outcome: Outcome) -> str:
    return outcome.name.replace("/", "_") + ".html"


def _day(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
