#!/bin/bash
# From the second boot on, root and boot are found by UUID: another disk with the
# same labels can then do no harm.
set -euo pipefail
. /usr/libexec/standin/bls-edit.sh
uuid() { blkid -p -s UUID -o value "$(realpath "$1")"; }
root=$(findmnt -nvro SOURCE /sysroot/sysroot | tail -n 1)
args=("boot=UUID=$(uuid /dev/disk/by-label/boot)")
case " $(cat /proc/cmdline) " in
    *" root="*) ;;
    *) args=("root=UUID=$(uuid "$root")" "${args[@]}") ;;
esac
bls_mount
bls_kargs "${args[@]}"
bls_umount
