# Shared by bin/cosa, bin/test and bin/bench; read by sh, not run.
# shellcheck shell=sh disable=SC2034  # variables are for the files read below
#
# Sets up what is missing (podman, a base image, the assembler image), each part once:
#   $cache/assembler/ready-ID   what is set up for this checkout, and for which inputs
#   $cache/assembler/host-ID/   what the image needs to know of this machine's registries
#   $cache/assembler/log/       what the set-up printed
# A killed set-up leaves no `ready` file, so the next one goes on where layers end.

root=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)
cache=${COSA_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cosa}
state=$cache/assembler
name=localhost/cosa-assembler
suite=trixie
status_environment=6 # cosa/core/errors.py

# shellcheck source=bin/lib/say.sh
. "$root/bin/lib/say.sh"
# shellcheck source=bin/lib/host.sh
. "$root/bin/lib/host.sh"
# shellcheck source=bin/lib/podman.sh
. "$root/bin/lib/podman.sh"
# shellcheck source=bin/lib/image.sh
. "$root/bin/lib/image.sh"
# shellcheck source=bin/lib/enter.sh
. "$root/bin/lib/enter.sh"
