# Functions pipelines call after reading upstream's file of this name; bash or sh.
# shellcheck shell=sh

basearch=$(uname -m)
export basearch PYTHONUNBUFFERED=1

info() {
    printf 'info: %s\n' "$*" >&2
}

fatal() {
    printf 'fatal: %s\n' "$*" >&2
    exit 1
}

# insert_build ID WORKDIR [ARCH]: list a build whose files are here, or came from elsewhere.
insert_build() {
    python3 -m cosa.cli.insertbuild "$1" "${2:-$PWD}" "${3:-$basearch}"
}

# get_latest_build [WORKDIR]: the id of the newest build listed; nothing without one.
get_latest_build() {
    jq -r '.builds[0].id // empty' "${1:-$PWD}/builds/builds.json" 2>/dev/null || :
}

# get_build_dir ID [ARCH]: the folder of a build in the current working directory.
get_build_dir() {
    printf 'builds/%s/%s\n' "$1" "${2:-$basearch}"
}
