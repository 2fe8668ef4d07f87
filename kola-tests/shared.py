"""The machine most tests share, and ways to look at it.

One machine, one config: everything Ignition is tested with is in `CONFIG`, so
that the suite needs one slow boot for all tests that only look. Tests that
change the machine say at which stage they come:
0 nothing lasting happened, 1 rebooted into an update, 2 rolled back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from cosa.kola.machine import Machine

CONFIG = """
variant: fcos
version: 1.4.0
passwd:
  groups:
    - name: wizards
      gid: 3100
  users:
    - name: merlin
      uid: 3000
      groups: [wizards]
      shell: /bin/bash
      home_dir: /var/home/merlin
    - name: daemonic
      system: true
      no_create_home: true
      shell: /usr/sbin/nologin
storage:
  directories:
    - path: /var/lib/kola
      mode: 0750
      user: {name: merlin}
      group: {name: wizards}
  files:
    - path: /etc/kola/inline
      mode: 0640
      contents: {inline: "from Ignition\\n"}
    - path: /etc/kola/compressed
      mode: 0644
      contents:
        compression: gzip
        source: "data:;base64,H4sIAAAAAAACA0vOzy0oSi0uTk3hAgC7bU/ICwAAAA=="
    - path: /etc/kola/once
      contents: {inline: "first\\n"}
    - path: /etc/hostname
      overwrite: true
      mode: 0644
      contents: {inline: "camelot\\n"}
  links:
    - path: /etc/kola/link
      target: /etc/kola/inline
systemd:
  units:
    - name: kola-once.service
      enabled: true
      contents: |
        [Unit]
        Description=Leave a line at every boot
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/sh -c 'echo ran >> /var/lib/kola-unit'
        [Install]
        WantedBy=multi-user.target
    - name: kola-at@.service
      contents: |
        [Unit]
        Description=An instance
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/sh -c 'echo %i > /run/kola-at-%i'
        [Install]
        WantedBy=multi-user.target
    - name: kola-at@one.service
      enabled: true
    - name: kola-masked.service
      mask: true
    - name: sshd.service
      dropins:
        - name: 50-kola.conf
          contents: |
            [Service]
            Environment=KOLA=seen
"""

SHARED = pytest.mark.kola(butane=CONFIG)
# What one boot and a few seconds can tell: quickstart's choice.
SMOKE = pytest.mark.kola(tags=("smoke",))


@dataclass(frozen=True)
class Deployment:
    """One entry of `ostree admin status`."""

    booted: bool
    osname: str
    checksum: str
    version: str
    state: str


def deployments(machine: Machine) -> list[Deployment]:
    """The deployments, the one booted next first."""
    text = machine.out("sudo ostree admin status")
    heads = re.compile(
        r"^(?P<mark>[* ]) (?P<os>\S+) (?P<sum>[0-9a-f]{64})\.\d+(?: \((?P<state>[^)]*)\))?$",
        re.MULTILINE,
    )
    found = list(heads.finditer(text))
    entries = []
    for match, after in zip(found, [*found[1:], None], strict=True):
        body = text[match.end() : after.start() if after else len(text)]
        version = re.search(r"^\s+Version: (.*)$", body, re.MULTILINE)
        entries.append(
            Deployment(
                match["mark"] == "*", match["os"], match["sum"],
                version[1] if version else "", match["state"] or "",
            )
        )  # fmt: skip
    assert entries, text
    return entries


def booted(machine: Machine) -> Deployment:
    """The deployment that is running."""
    (entry,) = [entry for entry in deployments(machine) if entry.booted]
    return entry


def idents(machine: Machine) -> dict[str, str]:
    """UUIDs of the disk and of its filesystems, as they are on the disk."""
    command = (
        "for p in boot root; do sudo blkid -p -o value -s UUID /dev/disk/by-partlabel/$p; done;"
        " sudo blkid -p -o value -s PTUUID /dev/vda"
    )
    boot, root, disk = machine.out(command).lower().splitlines()
    return {"boot": boot, "root": root, "disk": disk}
