#!/bin/bash
# Ignition's kernelArguments: change the boot entries and start again with them.
# Called as ignition-kargs-helper --should-exist ARG... --should-not-exist ARG...
set -euo pipefail
. /usr/libexec/standin/bls-edit.sh
add=() remove=()
while [ $# -gt 0 ]; do
    case $1 in
        --should-exist) add+=("$2") ;;
        --should-not-exist) remove+=("$2") ;;
        *) echo "unknown argument $1" >&2; exit 1 ;;
    esac
    shift 2
done
bls_mount
bls_kargs "${add[@]}" -- "${remove[@]}"
bls_umount
if [ -n "$bls_changed" ]; then
    echo "Kernel arguments changed, starting again" > /dev/kmsg
    systemctl reboot --force
    sleep infinity
fi
