#!/bin/bash
## kola:
##   description: config.bu is applied, and may order units against the test
##   minMemory: 1536
##   additionalDisks: ["1G:channel=nvme,serial=kola-spare"]
##   appendKernelArgs: kola.external=1
set -xeuo pipefail
grep -qx "from config.bu" /etc/kola-config
test -e /run/kola-before-test
ls /dev/disk/by-id/*kola-spare*
grep -qw kola.external=1 /proc/cmdline
test "$(awk '/MemTotal/ { print $2 }' /proc/meminfo)" -gt 1200000
