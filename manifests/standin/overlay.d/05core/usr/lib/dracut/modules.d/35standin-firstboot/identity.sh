#!/bin/bash
# Disks are made alike, bit by bit; on the first boot each becomes one of its
# own: random GUID of the disk, random UUIDs of the filesystems, and the backup
# table at the real end of the disk. Values that are not the image's are kept:
# somebody chose them.
set -euo pipefail

disk_sentinel=00000000-0000-4000-A000-000000000001
boot_sentinel=96d15588-3596-4b3c-adca-a2ff7279ea63
root_sentinel=910678ff-f77e-4a7d-8d53-86f2ac47a823

# With two disks made from such images nothing tells which boot belongs here.
mapfile -t boots < <(blkid -c /dev/null -t LABEL=boot -o device)
if [ "${#boots[@]}" -gt 1 ]; then
    echo "There is more than one filesystem labelled 'boot': ${boots[*]}. Detach the other disk." >&2
    exit 1
fi

{ read -r boot; read -r root; } < <(realpath /dev/disk/by-label/boot /dev/disk/by-label/root)
disk=$(realpath "/sys/class/block/${root##*/}/..")
disk=/dev/${disk##*/}

# udev leaves a disk alone while somebody holds this lock.
exec 9< "$disk"
flock 9
if [ "$(sfdisk --disk-id "$disk" 2> /dev/null)" = "$disk_sentinel" ]; then
    sgdisk --disk-guid=R --move-second-header "$disk" > /dev/null
fi
flock -u 9
udevadm settle --exit-if-exists="$boot" || :

renew() { # DEVICE SENTINEL
    [ -b "$1" ] && [ "$(blkid -p -s UUID -o value "$1")" = "$2" ] || return 0
    tune2fs -U random "$1" > /dev/null
}
renew "$boot" "$boot_sentinel"
renew "$root" "$root_sentinel"
udevadm trigger --settle "$boot" "$root"
