#!/bin/bash
## kola:
##   exclusive: true
##   description: A soft reboot keeps the kernel and /run
set -xeuo pipefail
case "${AUTOPKGTEST_REBOOT_MARK:-}" in
  "")
    cat /proc/sys/kernel/random/boot_id > /run/kola-boot-id
    /tmp/autopkgtest-soft-reboot "soft mark" ;;
  "soft mark")
    grep -qx "$(cat /proc/sys/kernel/random/boot_id)" /run/kola-boot-id
    test "$(systemctl show -P SoftRebootsCount)" = 1 ;;
  *) exit 1 ;;
esac
