#!/bin/bash
# The first boot around Ignition: the disk gets its own identity, the root grows,
# /var is there for Ignition to write to, the boot entries learn the new UUIDs,
# and a failure explains itself on the console.

check() {
    return 255
}

depends() {
    echo systemd ignition ostree
}

installkernel() {
    # qemu_fw_cfg carries the Ignition config of a QEMU guest.
    instmods qemu_fw_cfg ext4 virtio_blk virtio_scsi virtio_net
}

# Put a unit into the initramfs and make `target` require it.
standin_unit() {
    inst_simple "$moddir/$1" "$systemdsystemunitdir/$1"
    mkdir -p "$initdir$systemdsystemunitdir/$2.requires"
    ln_r "$systemdsystemunitdir/$1" "$systemdsystemunitdir/$2.requires/$1"
}

install() {
    local script
    inst_multiple \
        awk basename blkid cat cut findmnt grep head journalctl lsblk mkdir mktemp mount mv \
        partx realpath rm sed sfdisk sgdisk sleep sync tail tr tune2fs e2fsck \
        udevadm umount flock
    inst_multiple -o setfiles
    inst_simple /usr/lib/systemd/systemd-growfs
    for script in identity growroot var-mount var-populate boot-edit report-failure resolv-conf; do
        inst_script "$moddir/$script.sh" "/usr/libexec/standin/$script"
    done
    inst_simple "$moddir/bls-edit.sh" /usr/libexec/standin/bls-edit.sh
    inst_script "$moddir/ignition-kargs-helper.sh" /usr/sbin/ignition-kargs-helper
    inst_script "$moddir/root-generator.sh" "$systemdutildir/system-generators/standin-root-generator"

    standin_unit standin-identity.service ignition-diskful.target
    standin_unit standin-growroot.service ignition-diskful.target
    standin_unit standin-var-mount.service ignition-diskful.target
    standin_unit standin-var-populate.service ignition-diskful.target
    standin_unit standin-boot-edit.service ignition-diskful.target
    standin_unit standin-network.service ignition-complete.target

    inst_simple "$moddir/initrd-dhcp.network" /usr/lib/standin/initrd-dhcp.network
    inst_simple "$moddir/emergency-report.conf" \
        "$systemdsystemunitdir/emergency.service.d/10-report.conf"
    # The network is Ignition's to ask for (standin-network.service).
    $SYSTEMCTL -q --root "$initdir" disable systemd-networkd.service systemd-networkd.socket \
        systemd-networkd-wait-online.service systemd-network-generator.service
    # A fixed machine-id would be the same on every machine made from this image.
    rm -f "$initdir/etc/machine-id"
}
