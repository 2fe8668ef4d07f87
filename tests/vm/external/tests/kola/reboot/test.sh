#!/bin/bash
# kola: {"timeoutMin": 8, "description": "Both ways of rebooting; marks with spaces and quotes"}
set -xeuo pipefail
first='one "two" three'
second="it's \$HOME and \\ \`x\`"
case "${AUTOPKGTEST_REBOOT_MARK:-}" in
  "")
    cat /proc/sys/kernel/random/boot_id > /var/kola-boot-id
    /tmp/autopkgtest-reboot "$first"
    echo "must not be reached"; exit 1 ;;
  "$first")
    ! grep -qx "$(cat /proc/sys/kernel/random/boot_id)" /var/kola-boot-id
    cat /proc/sys/kernel/random/boot_id > /var/kola-boot-id
    /tmp/autopkgtest-reboot-prepare "$second"
    sync
    # no farewell
    reboot -ff || systemctl reboot --force --force
    sleep 600 ;;
  "$second")
    ! grep -qx "$(cat /proc/sys/kernel/random/boot_id)" /var/kola-boot-id ;;
  *) echo "unexpected mark: ${AUTOPKGTEST_REBOOT_MARK}"; exit 1 ;;
esac
