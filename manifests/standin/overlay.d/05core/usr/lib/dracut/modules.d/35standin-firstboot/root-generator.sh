#!/bin/sh
# Until the first boot has written root=UUID=... into the boot entries, the root
# is the filesystem labelled so.
set -eu
dir=$1
cmdline=$(cat /proc/cmdline)
case " $cmdline " in
    *" root="*) exit 0 ;;
esac
case " $cmdline " in
    *" ostree="*) ;;
    *) exit 0 ;;
esac
cat > "$dir/sysroot.mount" <<'UNIT'
[Unit]
Description=Root filesystem, by label
DefaultDependencies=no
Before=initrd-root-fs.target

[Mount]
What=/dev/disk/by-label/root
Where=/sysroot
Options=rw
UNIT
mkdir -p "$dir/initrd-root-fs.target.requires" "$dir/initrd-root-device.target.d"
ln -sf ../sysroot.mount "$dir/initrd-root-fs.target.requires/sysroot.mount"
cat > "$dir/initrd-root-device.target.d/50-standin.conf" <<'UNIT'
[Unit]
Requires=dev-disk-by\x2dlabel-root.device
After=dev-disk-by\x2dlabel-root.device
UNIT
