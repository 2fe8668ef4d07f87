#!/bin/bash
# The root partition takes the free space behind it (up to the next partition, if
# Ignition made one), then its filesystem takes the partition.
set -euo pipefail

device=$(realpath "$(findmnt -nvro SOURCE /sysroot)")
name=${device##*/}
if [ -e "/sys/class/block/$name/partition" ]; then
    number=$(cat "/sys/class/block/$name/partition")
    disk=$(realpath "/sys/class/block/$name/..")
    disk=/dev/${disk##*/}
    exec 9< "$disk"
    flock 9
    # The partition is in use: write the table, then tell the kernel of the one change.
    if echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel --force -N "$number" "$disk"; then
        partx --update --nr "$number" "$disk"
    fi
    flock -u 9
fi
/usr/lib/systemd/systemd-growfs /sysroot
