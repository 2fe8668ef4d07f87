#!/bin/bash
# Ignition makes home directories and users' files before systemd-tmpfiles has run
# in the real root, so what /home, /root, /opt ... point to has to exist. Labels
# are set here, as no policy is loaded yet.
set -euo pipefail
dirs=(home roothome opt srv mnt usrlocal)
systemd-tmpfiles --create --boot --root=/sysroot "${dirs[@]/#/--prefix=/var/}"
policy=$(sed -n 's/^SELINUXTYPE=//p' /sysroot/etc/selinux/config 2> /dev/null || :)
contexts=/sysroot/etc/selinux/$policy/contexts/files/file_contexts
if [ -n "$policy" ] && [ -e "$contexts" ]; then
    present=()
    for dir in "${dirs[@]}"; do
        [ ! -e "/sysroot/var/$dir" ] || present+=("/sysroot/var/$dir")
    done
    [ "${#present[@]}" -eq 0 ] || setfiles -F -r /sysroot "$contexts" "${present[@]}"
fi
