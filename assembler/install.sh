#!/bin/sh
# Installs distribution packages in the image: PACKAGE... or --list FILE.
# /run/cosa-host, mounted by bin/lib.sh during the build, brings the host's proxies and CAs.
set -eu
# shellcheck source=/dev/null
[ -r /run/cosa-host/env ] && . /run/cosa-host/env
if [ "$1" = --list ]; then
    # shellcheck disable=SC2046  # one package a line
    set -- $(sed 's/#.*//' "$2")
fi

install_once() {
    if command -v apt-get >/dev/null; then
        # Manuals are read by nobody here, and the image can be made again should the
        # machine lose power: so neither is written, and nothing is synced.
        apt-get update &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
                -o DPkg::Options::=--force-unsafe-io \
                -o DPkg::Options::=--path-exclude='/usr/share/man/*' \
                -o DPkg::Options::=--path-exclude='/usr/share/locale/*' "$@" &&
            apt-get clean && rm -rf /var/lib/apt/lists/*
    else
        dnf -y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install "$@" &&
            dnf clean all
    fi
}

for pause in 3 15 0; do
    install_once "$@" && exit
    [ "$pause" = 0 ] || { echo "trying again in $pause s" >&2; sleep "$pause"; }
done
exit 1
