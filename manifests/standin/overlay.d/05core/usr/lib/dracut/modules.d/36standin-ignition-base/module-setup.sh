#!/bin/bash
# What Ignition starts from on this OS, before anything the user asks for.

check() {
    return 255
}

depends() {
    echo ignition
}

install() {
    inst_simple "$moddir/00-core.ign" /usr/lib/ignition/base.d/00-core.ign
}
