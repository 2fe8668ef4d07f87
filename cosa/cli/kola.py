"""`kola`: test an image in machines."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli import kolawords
from cosa.cli.command import Context, command
from cosa.cli.kolawords import OPTIONS, Asked
from cosa.cli.parse import usage_error
from cosa.cli.settings import settings

if TYPE_CHECKING:
    from cosa.core.store import Json
    from cosa.kola.choice import Choice
    from cosa.kola.session import Run

_PROBE = 0.8  # seconds
_DISTROS = {"fedora-coreos": "fcos", "rhcos": "rhcos", "scos": "scos"}


def _kola(_c: Context, words: list[str], **options: Any) -> int:
    """Test the latest image: kola run, list, rerun, run-upgrade, spawn, http-server."""
    from cosa.cli import kolaverbs

    verb, rest = (words[0], words[1:]) if words else ("run", [])
    if verb in kolaverbs.VERBS:
        return kolaverbs.VERBS[verb](rest)
    if verb not in ("run", "list", "rerun", "run-upgrade"):
        verb, rest = "run", words
    asked = kolawords.split(rest, options, verb)
    if asked.values["platform"] != "qemu":
        raise usage_error(
            "option-value", f"there is no platform '{asked.values['platform']}' to run on",
            fix="machines run in QEMU on this one: leave --platform away",
        )  # fmt: skip
    if verb == "list":
        from cosa.kola import session

        kolawords.print_list(session.collect(_run(asked)), as_json=asked.values["json"])
        return 0
    if verb == "run-upgrade":
        return kolaverbs.run_upgrade(asked)
    return run_tests(asked)


def _signature() -> inspect.Signature:
    """The function's parameters, from the table of options."""
    kind = inspect.Parameter
    fixed = [
        kind("_c", kind.POSITIONAL_OR_KEYWORD), kind("words", kind.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    given = [
        kind(
            option.key, kind.KEYWORD_ONLY,
            default=None if isinstance(option.default, list) else option.default,
        )
        for option in OPTIONS
    ]  # fmt: skip
    return inspect.Signature([*fixed, *given])


_kola.__signature__ = _signature()  # type: ignore[attr-defined]  # invoke asks inspect for it
kola = command(
    name="kola",
    group="Machines",
    passthrough="words",
    iterable=[option.key for option in OPTIONS if isinstance(option.default, list)],
    short={option.key: option.short for option in OPTIONS if option.short},
    metavar={option.key: option.metavar for option in OPTIONS if option.metavar}
    | {"words": "run|list|rerun|run-upgrade|... [GLOB...] [PYTEST OPTION...]"},
    help={option.name: option.help for option in OPTIONS}
    | {"words": "what to do (run by default), names to select, and options of pytest"},
)(_kola)


def run_tests(asked: Asked, **changes: Any) -> int:
    """Run what was asked for, with changes to the run; the exit status."""
    from dataclasses import replace

    from cosa.cli import machines
    from cosa.kola import session

    values = asked.values
    image = machines.image_of(values["qemu_image"], values["build"])
    accelerator = machines.accelerator()
    wanted = replace(
        _run(asked),
        image=image.absolute(),
        output=machines.output_of(values["output"]),
        build=None if values["qemu_image"] else image.parent.absolute(),
        accelerator=accelerator,
        saved=None if values["cold"] else machines.saved_machines(),
        workers=kolawords.workers(values["parallel"]),
        memory=values["qemu_memory"],
        firmware=machines.firmware_of(values["qemu_firmware"]),
        patience=(1 + values["extend_timeout_percentage"] / 100) * _slowness(accelerator),
        append=_appended(values),
        primary=kolawords.primary_disk(values),
        rerun=values["rerun"],
        flaky_tags=tuple(
            filter(None, values["allow_rerun_success"].removeprefix("tags=").split(","))
        ),
        warn_77=values["on_warn_failure_exit_77"],
        tapfile=str(Path(values["tapfile"]).absolute()) if values["tapfile"] else "",
        shell=values["ssh_on_test_failure"],
    )
    if asked.verb == "rerun":
        wanted = replace(
            wanted, choice=replace(wanted.choice, only=session.failed_in(wanted.output))
        )
    if wanted.shell:
        wanted = replace(wanted, workers=1)
    return session.run(replace(wanted, **changes))


def _slowness(accelerator: str) -> float:
    """How much slower than the machine limits were measured on this one is, or is kept, just now.

    By the time the probe guest took under TCG (0.8 s where the limits come from)
    and by how many processes wait for each processor; between 1 and 4.
    """
    import os

    from cosa.cli import machines
    from cosa.core import events, parallel
    from cosa.tools import probe

    slow = 1.0
    if accelerator == "tcg":
        slow = (probe.accelerators(machines.saved_machines().parent).tcg or _PROBE) / _PROBE
    waiting = os.getloadavg()[0] / parallel.jobs()
    factor = min(4.0, max(1.0, slow, waiting / 1.5))
    if factor > 1.1:
        events.note(f"this machine is slow or busy: time-outs are stretched by {factor:.1f}")
    return round(factor, 2)


def _run(asked: Asked) -> Run:
    """What chooses tests; enough to list them."""
    from cosa.kola.session import Run

    values = asked.values
    folder = Path(values["tests"]).absolute() if values["tests"] else kolawords.own_tests()
    return Run(
        folder, Path(), Path(), globs=asked.globs, tags=tuple(values["tag"] or ()),
        choice=_choice(values, folder), extra=asked.extra,
    )  # fmt: skip


def _choice(values: Mapping[str, Any], tests: Path) -> Choice:
    from cosa.kola.choice import Choice
    from cosa.kola.denylist import NAME

    meta = _meta(values)
    config = settings().workdir / "src/config"
    denylists = [path for path in (config / NAME, tests / NAME) if path.is_file()]
    distro = values["distro"] or _DISTROS.get(str(meta.get("name", "")), "fcos")
    return Choice(
        roots=_roots(values["exttest"] or [], config, tests),
        distro=distro,
        stream=values["denylist_stream"] or _stream(meta),
        osversion=str(meta.get("ostree-version", "")),
        multiply=max(1, values["multiply"]),
        sharding=values["sharding"],
        denylists=tuple(str(path.absolute()) for path in denylists),
        denied=tuple(values["denylist_test"] or ()),
        no_net=values["no_net"],
    )


def _roots(given: list[str], config: Path, tests: Path) -> tuple[str, ...]:
    """Where external tests are: named folders or else this one, the build's config, kola-tests."""
    from cosa.core import events
    from cosa.kola.external import BELOW, Root

    roots = [Root.of(Path(folder)) for folder in given or ["."]]
    for root, folder in zip(roots, given, strict=False):
        if not root.folder.is_dir():
            events.warn(f"{folder} has no {BELOW}, so there are no external tests from there")
    roots.append(Root.of(config.resolve() if config.exists() else config, "ext.config"))
    roots.append(Root(tests, f"ext.{tests.name}"))
    if len(roots) > 1 and roots[0].folder == roots[1].folder:
        roots.pop(0)
    return tuple(f"{root.prefix}={root.folder}" for root in roots)


def _meta(values: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of the build that is tested; nothing for a lone image or before any build."""
    import json

    from cosa.cli import machines
    from cosa.core.errors import CosaError

    if values["qemu_image"]:
        return {}
    try:
        folder = machines.image_of("", values["build"]).parent
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        return meta
    except (CosaError, OSError, ValueError):
        return {}  # a run says later what is missing; a list needs no build


def _stream(meta: Mapping[str, Any]) -> str:
    commit = meta.get("coreos-assembler.oci-imported-labels") or {}
    label = commit.get("com.coreos.stream") if isinstance(commit, Mapping) else ""
    return str(label or meta.get("coreos-assembler.stream") or "")


def _appended(values: Mapping[str, Any]) -> str:
    """The configs every machine gets, as one."""
    import json

    from cosa.tools import butane

    paths = [*(values["append_butane"] or []), *(values["append_ignition"] or [])]
    configs: list[butane.Config] = []
    for number, name in enumerate(paths):
        is_butane = number < len(values["append_butane"] or [])
        path = Path(name)
        checked = butane.load_butane(path) if is_butane else butane.load_ignition(path)
        configs.append(checked.config)
    debug = "[Service]\nEnvironment=SYSTEMD_LOG_LEVEL=debug\n"
    for unit in values["debug_systemd_unit"] or []:
        dropin: Json = {"name": "50-kola-debug.conf", "contents": debug}
        name = unit if "." in unit else f"{unit}.service"
        units: list[Json] = [{"name": name, "dropins": [dropin]}]
        configs.append({"ignition": {"version": "3.0.0"}, "systemd": {"units": units}})
    config = butane.combined(*configs)
    return json.dumps(config) if config else ""
