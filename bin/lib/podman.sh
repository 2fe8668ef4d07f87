# podman: installed where it is missing, with the settings that work on this machine.
# shellcheck shell=sh disable=SC2154,SC2086,SC3045  # dash and bash know ulimit -H; $globals and $options are lists of words

quiet_podman() { podman --log-level=error $globals "$@"; }

# need PROGRAM...: install what is missing through the host's own package manager.
need() {
    missing=
    for program; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    [ -n "$missing" ] || return 0
    root_user || fail $status_environment "not installed:$missing" \
        "cosa runs its tools in a container" "as root, install$missing, then run this again"
    if command -v apt-get >/dev/null; then
        # crun is what podman depends on, runc what still works with old cgroups.
        packages="ca-certificates crun runc debian-archive-keyring$missing"
        installer=install_with_apt
    elif command -v dnf >/dev/null; then
        packages=$missing
        installer=install_with_dnf
    else
        fail $status_environment "not installed:$missing" \
            "this machine has neither apt nor dnf" "install$missing, then run this again"
    fi
    phase "installing$missing" "$state/log/install" $installer $packages || {
        show_log "$state/log/install"
        fail $status_environment "could not install$missing" "the machine's package manager failed" \
            "mend what it says above, then run this again"
    }
}

install_with_apt() {
    for pause in 3 15 0; do
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@" && return
        sleep $pause
    done
    return 1
}

install_with_dnf() { dnf -y --setopt=install_weak_deps=False install "$@"; }

# Identifies podman and kernel without starting podman.
podman_identity() {
    stat -L -c '%n %s %Y' "$(command -v podman || echo /)" 2>/dev/null
    uname -r
    id -u
    ulimit -H -n
}

# Storage that works: the default, else FUSE, else plain copies in a store of our own.
find_storage() {
    for globals in "" \
        "--storage-driver=overlay --storage-opt=overlay.mount_program=/usr/bin/fuse-overlayfs --root=$state/storage" \
        "--storage-driver=vfs --root=$state/storage"; do
        timeout 60 podman --log-level=error $globals images >/dev/null 2>&1 9>&- && return 0
    done
    return 1
}

# find_settings IMAGE: sets `globals` and `options` so that a container really runs.
# Ways differ by OCI runtime (crun refuses hybrid cgroups) and by the limits a container
# is given (podman asks for more open files than some machines allow).
find_settings() {
    image=$1 storage=$globals
    files=$(ulimit -H -n)
    case $files in '' | *[!0-9]*) files=1048576 ;; esac
    for manager in '' cgroupfs; do
        for runtime in '' crun runc; do
            [ -z "$runtime" ] || command -v $runtime >/dev/null || continue
            for limits in '' "nofile=$files:$files" "nofile=$files:$files nproc=30000:30000" \
                'nofile=1024:1024 nproc=1024:1024'; do
                globals="$storage${runtime:+ --runtime=$runtime}${manager:+ --cgroup-manager=$manager}"
                options='--privileged --network=host --pids-limit=-1'
                for limit in $limits; do options="$options --ulimit=$limit"; done
                timeout 30 podman --log-level=error $globals run --rm --pull=never $options \
                    "$image" true >"$state/log/trial" 2>&1 </dev/null 9>&- && return 0
            done
        done
    done
    globals=$storage
    return 1
}
