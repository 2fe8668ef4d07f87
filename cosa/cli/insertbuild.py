"""`python3 -m cosa.cli.insertbuild ID WORKDIR ARCH`: what `insert_build` of cmdlib.sh runs."""

from __future__ import annotations

import sys
from pathlib import Path

from cosa.cli import errors
from cosa.core.errors import CosaError
from cosa.pipeline import publish
from cosa.pipeline.workdir import Workdir


def main(words: list[str]) -> int:
    """List the build; the exit status."""
    build, workdir, arch = words
    try:
        publish.insert(Workdir(Path(workdir).absolute()), build, arch)
    except CosaError as err:
        return errors.report(err, debug=False, as_json=False)
    print(f"Build {build} was inserted for {arch}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
