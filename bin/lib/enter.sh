# Into the assembler: mounts, environment, terminal; then podman takes this process's place.
# shellcheck shell=sh disable=SC2154,SC2086

# True where there is nothing to enter: inside the assembler, or on a machine with all tools.
at_home() {
    [ -e /etc/cosa-assembler ] && return 0
    [ "${COSA_ASSEMBLER:-}" = host ] && return 0
    for program in python3 ostree bwrap mke2fs mcopy skopeo createrepo_c butane ignition-validate \
        qemu-system-x86_64 qemu-img dpkg-deb gpgv zstd; do
        command -v $program >/dev/null || return 1
    done
    python3 -c 'import sys, solv, librepo, rpm, createrepo_c, gi, pydantic, invoke, rich, yaml
sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

# share FOLDER_OR_FILE: mount it at its own path, unless something mounted holds it.
share() {
    case $1 in *[:,]* | *'
'*) return 0 ;; esac
    while IFS= read -r shared; do
        case $1/ in "$shared"/*) return 0 ;; esac
    done <<EOF
$mounts
EOF
    mounts="$mounts
$1"
}

# share_word WORD: an argument that names something that exists is visible inside, too.
share_word() {
    word=${1#--*=}
    case $word in '' | -* | */proc/* | /dev/* | /sys/*) return 0 ;; esac
    [ -e "$word" ] || return 0
    folder=$word
    [ -d "$word" ] || folder=$(dirname -- "$word")
    folder=$(CDPATH='' cd -- "$folder" 2>/dev/null && pwd) || return 0
    case $folder in
    / | /bin* | /boot* | /etc* | /lib* | /sbin* | /usr* | /run | /proc* | /sys* | /dev* | /var | /var/lib | /tmp)
        # Not a folder to hide the assembler's own with: the file alone, if it is one.
        [ ! -f "$word" ] || share "${folder%/}/${word##*/}"
        ;;
    *) share "$folder" ;;
    esac
}

# find_workdir WORD...: the working directory the words name, else COSA_WORKDIR, else work/.
find_workdir() {
    workdir=${COSA_WORKDIR:-$root/work}
    while [ $# -gt 0 ]; do
        case $1 in
        --) break ;;
        --workdir) [ $# -lt 2 ] || workdir=$2 ;;
        --workdir=*) workdir=${1#--workdir=} ;;
        esac
        shift
    done
    case $workdir in /*) ;; *) workdir=$PWD/$workdir ;; esac
}

# announce WORD...: the first line, at once, of commands that take a while; entering takes
# half a second itself. Commands whose output others read stay silent.
announce() {
    verb=''
    while [ $# -gt 0 ]; do
        case $1 in
        --log-format=json | --help | -h) return 0 ;;
        --log-format) [ "${2:-}" != json ] || return 0 ;;
        esac
        case $verb$1 in
        --workdir | --log-format) [ $# -lt 2 ] || shift ;;
        quickstart | fetch | build | kola | doctor) verb=$1 ;;
        -*) ;;
        *) [ -n "$verb" ] || return 0 ;;
        esac
        shift
    done
    [ -n "$verb" ] || return 0
    printf 'cosa %s: %s\n' "$verb" "$workdir" >&2
    export COSA_ANNOUNCED=1
}

# enter COMMAND WORD...: run it in the assembler, in this folder, with this terminal.
# Its exit status is ours; it does not outlive us, however we end.
enter() {
    mkdir -p "$workdir" 2>/dev/null || fail $status_environment \
        "the working directory $workdir cannot be made" "" "choose another with --workdir"
    workdir=$(CDPATH='' cd -- "$workdir" && pwd) || exit $status_environment
    mkdir -p "$cache" 2>/dev/null || fail $status_environment \
        "the cache folder $cache cannot be written" "" "set COSA_CACHE to a folder of yours"
    ensure_image
    mounts=$root
    share "$(CDPATH='' cd -- "$cache" && pwd)"
    share "$workdir"
    for word in "${COSA_SHARED_FIXTURES:-}" "${ARTIFACT_DIR:-}" "${REGISTRY_AUTH_FILE:-}" \
        "${AWS_CONFIG_FILE:-}" "${AWS_SHARED_CREDENTIALS_FILE:-}"; do
        share_word "$word"
    done
    share_word "$PWD"
    for word; do share_word "$word"; done
    here=$PWD
    printf '%s\n' "$mounts" | grep -qxF "${PWD%/}" || case $PWD in "$root"/* | "$workdir"/* | "$cache"/*) ;; *) here=$root ;; esac

    set -- "$image" sh "$root/bin/lib/inside.sh" "$@"
    while IFS= read -r folder; do
        set -- --volume="$folder:$folder" "$@"
    done <<EOF
$mounts
EOF
    bundle=$(ca_bundle)
    if [ -n "$bundle" ]; then
        for place in /etc/ssl/certs/ca-certificates.crt /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem; do
            set -- --volume="$bundle:$place:ro" "$@"
        done
    fi
    while IFS= read -r pair; do
        set -- --volume="$pair:ro" "$@"
    done <<EOF
$(registry_files /etc/containers/registries.conf:/etc/containers/registries.conf \
    /etc/containers/registries.conf.d:/etc/containers/registries.conf.d; apt_files_of_host)
EOF
    for variable in TERM COLORTERM NO_COLOR FORCE_COLOR CI SOURCE_DATE_EPOCH PIP_INDEX_URL \
        PIP_EXTRA_INDEX_URL GOPROXY ARTIFACT_DIR REGISTRY_AUTH_FILE COREOS_ASSEMBLER_REMOTE_SESSION \
        $(env | sed -n -e 's/^\(COSA_[A-Z0-9_]*\)=.*/\1/p' -e 's/^\(AWS_[A-Z0-9_]*\)=.*/\1/p'); do
        set -- --env="$variable" "$@"
    done
    set -- --env=COSA_CACHE="$cache" --env=COSA_WORKDIR="$workdir" --env=PYTHONPATH="$root" \
        --env=PYTHONPYCACHEPREFIX="$cache/pycache" \
        --env=PYTHONWARNINGS='ignore:builtin type swig:DeprecationWarning' --env=COSA_HOST_PODMAN="podman$globals run $options" \
        --env=COSA_HOST_PODMAN_VERSION="${version#podman version }" \
        --env=COSA_HOST_IMAGE="$image" --env=COSA_HOST_BASE="$base" \
        --volume="/proc/$$:/run/cosa-client:ro" --workdir="$here" "$@"
    if (: <&0) 2>/dev/null; then set -- --interactive "$@"; else exec </dev/null; fi
    if [ -t 0 ] && [ -t 1 ]; then set -- --tty "$@"; fi
    exec podman --log-level=error $globals run --rm --pull=never $options "$@"
}

# A base that was pulled knows nothing of this machine's Debian mirrors; the stand-in needs one.
apt_files_of_host() {
    case $base in "$name"-base:*) return 0 ;; esac
    [ -s "$host/sources.list" ] || return 0
    printf '%s\n' "$host/sources.list:/etc/apt/sources.list" /usr/share/keyrings:/usr/share/keyrings \
        "$host/apt.conf:/etc/apt/apt.conf.d/90cosa-host"
}
