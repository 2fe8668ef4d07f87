#!/bin/bash
# Bring the network up by DHCP (or as ip= on the kernel command line says) and
# write the name servers down: there is no resolver service in the initramfs.
set -euo pipefail
mkdir -p /run/systemd/network
[ -e /run/systemd/network/71-default.network ] \
    || cp /usr/lib/standin/initrd-dhcp.network /run/systemd/network/95-initrd-dhcp.network
systemctl start systemd-networkd.service
/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=120
for server in $(sed -n 's/^DNS=//p' /run/systemd/netif/state); do
    echo "nameserver $server"
done > /etc/resolv.conf
