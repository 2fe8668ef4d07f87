#!/bin/sh
# Makes the virtual environment: venv.sh FOLDER REQUIREMENTS. The bindings of the
# distribution (solv, librepo, rpm, createrepo_c, gi) show through it.
set -eu
# shellcheck source=/dev/null
[ -r /run/cosa-host/env ] && . /run/cosa-host/env
python3 -m venv --system-site-packages "$1"
# --ignore-installed: a pin holds even where the distribution has a like version.
"$1/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --retries 8 \
    --no-deps --ignore-installed --require-hashes --only-binary :all: -r "$2"
"$1/bin/python" -c 'import solv, librepo, rpm, createrepo_c, gi, pydantic, invoke, rich, pysequoia'
