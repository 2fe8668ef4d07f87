#!/bin/bash
# The deployment's /var is empty; the stateroot's belongs there. The real root
# gets it from ostree's own generator, which is not at work here.
set -euo pipefail
mountpoint=/sysroot/var
# /sysroot/ostree/boot.N/STATEROOT/... names the stateroot
read -ra args < /proc/cmdline
for arg in "${args[@]}"; do
    case $arg in
        ostree=*) IFS=/ read -r _ _ _ stateroot _ <<< "${arg#ostree=}" ;;
    esac
done
mount --bind "/sysroot/sysroot/ostree/deploy/${stateroot:?no ostree= on the kernel command line}/var" "$mountpoint"
mount -o remount,bind,rw "$mountpoint"
