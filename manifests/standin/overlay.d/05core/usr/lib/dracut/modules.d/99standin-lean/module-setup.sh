#!/bin/bash
# The last module: takes out what the others put in and this OS does not use. Each unit is
# a process or two at every boot, each rule is read and matched at every event.

check() {
    return 255
}

install() {
    local name units=$initdir$systemdsystemunitdir rules=$initdir/usr/lib/udev/rules.d
    # Devices, values and files of the running system are set up by the real root.
    for name in kmod-static-nodes systemd-tmpfiles-setup-dev-early systemd-tmpfiles-setup-dev \
        systemd-tmpfiles-setup systemd-sysctl; do
        rm -f "$units/sysinit.target.wants/$name.service"
    done
    rm -f "$units"/initrd.target.wants/{systemd-battery-check,systemd-pcrphase-initrd}.service
    rm -f "$initdir/usr/lib/systemd/system-generators/systemd-gpt-auto-generator"
    # systemd reads root= itself; the network is Ignition's business, by systemd-networkd.
    rm -f "$initdir"/usr/lib/dracut/hooks/cmdline/*.sh
    rm -f "$initdir"/usr/lib/dracut/hooks/pre-udev/*ifname-genrules.sh
    rm -f "$initdir"/usr/lib/dracut/hooks/pre-pivot/*overlay-mount.sh
    mkdir -p "$units"/{dracut-initqueue,systemd-network-generator}.service.d
    # Devices are waited for by units.
    printf '%s\n' '[Unit]' 'ConditionPathExists=' 'ConditionKernelCommandLine=rd.break=initqueue' \
        > "$units/dracut-initqueue.service.d/10-standin.conf"
    { echo '[Unit]'
      for name in ip ifname vlan bond bridge team nameserver rd.route rd.neednet rd.peerdns; do
          echo "ConditionKernelCommandLine=|$name"
      done
    } > "$units/systemd-network-generator.service.d/10-standin.conf"
    for name in 60-autosuspend 60-drm 60-evdev 60-fido-id 60-input-id 60-persistent-alsa \
        60-persistent-input 60-persistent-storage-tape 60-persistent-v4l 60-sensor 70-joystick \
        70-memory 70-mouse 70-touchpad 70-uaccess 71-seat 73-seat-late 75-probe_mtd \
        78-sound-card; do
        rm -f "$rules/$name.rules"
    done
}
