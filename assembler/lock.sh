#!/bin/sh
# Writes requirements.txt (every version and hash) from requirements.in. Run inside the
# assembler: bin/cosa shell -- sh assembler/lock.sh
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet uv
cd "$here"
"$tools/bin/uv" pip compile --quiet --universal --python-version 3.12 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    requirements.in --output-file requirements.txt "$@"
