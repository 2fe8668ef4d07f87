"""Containers."""

from __future__ import annotations

from shared import SHARED

from cosa.kola.machine import Machine

pytestmark = SHARED

# No registry is asked: the image is made of the machine's own shell and its libraries.
_IMAGE = """
cd "$(mktemp -d -p /var/tmp)"
mkdir -p root/usr/bin root/usr/lib root/usr/lib64 root/tmp
for link in bin lib lib64; do [ -L /$link ] && cp -P /$link root/; done
for program in bash cat id; do
  cp --parents "$(readlink -f "$(command -v $program)")" root/
  ldd "$(command -v $program)" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root$(dirname "$library")"
    cp -L "$library" "root$library"
  done
done
tar -C root -c . | podman import --change 'ENV KOLA=inside' - localhost/kola:1
"""


def test_made_here(machine: Machine) -> None:
    """podman imports an image made on the machine and runs it, apart from the host."""
    machine.script(_IMAGE, timeout=180)
    result = machine.ssh(
        "sudo podman run --rm --network=none --volume /etc/kola:/kola:ro --memory 128m"
        """ localhost/kola:1 /usr/bin/bash -c 'echo "$KOLA $$"; id -u; cat /kola/inline'""",
        timeout=180,
    )
    assert result.out.split("\n")[:3] == ["inside 1", "0", "from Ignition"]
