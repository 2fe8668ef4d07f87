"""GRUB's configuration: one for BIOS, UEFI and Secure Boot, reading ostree's boot entries.

Debian's GRUB has no `blscfg` command, and under Secure Boot no module can be
loaded that is not in the signed image. What every GRUB can do is `source` a
file: an entry of the Boot Loader Specification is one, if its keys are functions.
docs/adr/ tells what else was thought of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

CONSOLE_START = "# CONSOLE-SETTINGS-START"
CONSOLE_END = "# CONSOLE-SETTINGS-END"

# On the ESP, where the signed GRUB looks for it. The boot partition is taken from
# the same disk: no label or UUID can then lead to another one.
ESP_CONFIG = """\
# The boot partition is the third of the disk this file is on.
regexp --set=1:disk '^[(]?([^,)]+),' "$root"
if [ -f "($disk,gpt3)/grub2/grub.cfg" ]; then
  set root="$disk,gpt3"
else
  search --no-floppy --label boot --set=root
fi
set prefix="($root)/grub2"
configfile "$prefix/grub.cfg"
"""

GRUB_CONFIG = """\
# Written with the disk image and the same on every one; the menu comes from the
# boot entries in /loader/entries, which ostree writes.
# Own settings: user.cfg beside this file.

set timeout=1
set timeout_style=menu
set default=0
set boot="$root"

if [ -s "$prefix/grubenv" ]; then
  load_env
fi
if [ -f "$prefix/console.cfg" ]; then
  source "$prefix/console.cfg"
fi
if [ x"$menu_auto_hide" = x1 ]; then
  set timeout_style=hidden
fi

# First boot: Ignition runs if this file is there; it may set ignition_network_kcmdline.
set ignition_firstboot=""
if [ -f "/ignition.firstboot" ]; then
  set ignition_network_kcmdline=""
  source "/ignition.firstboot"
  set ignition_firstboot="ignition.firstboot $ignition_network_kcmdline"
fi

# The keys of an entry. GRUB built for Secure Boot has commands `linux` and `initrd`
# inside, which win over functions of that name; they come after `options` in
# ostree's entries, and find nothing while root is not a disk.
function title { set bls_title="$*"; }
function version { true; }
function options { set bls_options="$*"; }
function linux { true; }
function initrd { true; }
function aboot { true; }
function abootcfg { true; }
function grub_users { true; }

for number in 9 8 7 6 5 4 3 2 1; do
  for entry in ($boot)/loader/entries/ostree-$number*.conf; do
    if [ -f "$entry" ]; then
      set bls_title=""
      set bls_options=""
      set root="no-disk"
      source "$entry"
      set root="$boot"
      set target='ostree=/ostree/boot[.][01]/([^/]+)/([0-9a-f]+)/'
      regexp --set=1:stateroot --set=2:checksum "$target" "$bls_options"
      for kernel in ($boot)/ostree/$stateroot-$checksum/vmlinuz-*; do
        for initramfs in ($boot)/ostree/$stateroot-$checksum/initramfs-*; do
          menuentry "$bls_title" --id "ostree-$number" "$kernel" "$initramfs" "$bls_options" {
            insmod linux
            linux "$2" $4
            initrd "$3"
          }
        done
      done
    fi
  done
done

if [ "$grub_platform" = "efi" ]; then
  menuentry "UEFI firmware settings" --id uefi-firmware { fwsetup }
fi

if [ -f "$prefix/user.cfg" ]; then
  source "$prefix/user.cfg"
fi
"""


def console_block(commands: Sequence[str]) -> str:
    """console.cfg: the platform's GRUB commands between markers tools look for."""
    return "\n".join([CONSOLE_START, *commands, CONSOLE_END]) + "\n"


def replace_console(text: str, commands: Sequence[str]) -> str:
    """The text with other commands between the markers, appended when there are none."""
    block = console_block(commands)
    pattern = re.compile(
        f"^{re.escape(CONSOLE_START)}$.*?^{re.escape(CONSOLE_END)}$\n?", re.MULTILINE | re.DOTALL
    )
    if pattern.search(text):
        return pattern.sub(lambda _: block, text, count=1)
    return text + block
