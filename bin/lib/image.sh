# The base image and the assembler image: made when their inputs change, else reused.
# shellcheck shell=sh disable=SC2154,SC2086

digest() { sha256sum | cut -c1-16; }

# What the image is made from, of this checkout.
image_inputs() {
    (cd "$root" && sha256sum Containerfile assembler/*.sh assembler/*.txt assembler/go/* assembler/upstream/*)
}

# A digest of everything the set-up depends on, found in some 20 ms.
setup_key() {
    {
        image_inputs
        podman_identity
        printf '%s\n' "${COSA_BASE:-}"
        apt_files | xargs -r cat
    } 2>/dev/null | digest
}

# ensure_image: sets `image`, `globals` and `options`, setting up what is missing.
ensure_image() {
    checkout=$(printf '%s' "$root" | digest)
    ready=$state/ready-$checkout
    host=$state/host-$checkout
    key=$(setup_key)
    if read_ready && quiet_podman image exists "$image"; then return 0; fi
    mkdir -p "$state/log" 2>/dev/null || fail $status_environment \
        "the cache folder $cache cannot be written" "" "set COSA_CACHE to a folder of yours"
    exec 9>"$state/lock"
    if ! flock -n 9; then
        say "another cosa is setting up the assembler; waiting for it"
        flock 9
    fi
    if ! { read_ready && quiet_podman image exists "$image"; }; then
        set_up
    fi
    exec 9>&-
}

read_ready() {
    known='' image='' globals='' options='' base='' version=''
    [ -r "$ready" ] && {
        read -r known && read -r image && IFS= read -r globals && IFS= read -r options &&
            read -r base && read -r version
    } <"$ready" && [ "$known" = "$key" ] && command -v podman >/dev/null
}

set_up() {
    say "first use here, or its inputs changed: setting up the assembler (logs: $state/log)"
    need podman
    key=$(setup_key) # podman may be new
    find_storage || fail $status_environment "podman finds no way to store images here" \
        "$(podman images 2>&1 | tail -n 1)" "see \`podman info\`"
    host_folder "$host"
    tidy_interrupted
    if [ -n "${COSA_BASE:-}" ]; then
        pull "$COSA_BASE" || fail $status_environment "the base image $COSA_BASE cannot be pulled" \
            "$(tail -n 1 "$state/log/pull")" "unset COSA_BASE, or name an image that can be had"
        build_on "$COSA_BASE" || build_failed
    elif ! { pull_default && build_on "$default_base"; }; then
        # Without apt there is no second way, and what went wrong with the first is the news.
        command -v apt-get >/dev/null || [ ! -e "$state/log/image" ] || build_failed
        make_debian_base
        build_on "$base" || build_failed
    fi
    remove_replaced
    version=$(podman --version)
    printf '%s\n' "$key" "$image" "$globals" "$options" "$base" \
        "$version" >"$ready.new"
    mv "$ready.new" "$ready"
}

# The base the Containerfile names, if its registry answers at once and serves it in time.
pull_default() {
    default_base=$(sed -n 's/^ARG BASE=//p' "$root/Containerfile")
    quiet_podman image exists "$default_base" 2>/dev/null && return 0
    registry=$(registry_of "$default_base")
    [ -z "$registry" ] || timeout 5 getent hosts "$registry" >/dev/null 2>&1 || return 1
    pull "$default_base"
}

# registry_of IMAGE: the host it comes from; a short name's as registries.conf has it, if it has.
registry_of() {
    case ${1%%/*} in *[.:]*) case $1 in */*) printf '%s\n' "${1%%/*}" && return ;; esac ;; esac
    sed -n 's|^ *"'"${1%%:*}"'" *= *"\([^/"]*\)/.*|\1|p' /etc/containers/registries.conf \
        /etc/containers/registries.conf.d/*.conf /usr/share/containers/registries.conf.d/*.conf \
        2>/dev/null | head -n 1
}

pull() {
    quiet_podman image exists "$1" && return 0
    phase "pulling $1" "$state/log/pull" timeout "${COSA_PULL_SECONDS:-120}" \
        podman --log-level=error $globals pull --quiet "$1"
}

# make_debian_base: sets `base`, an image bootstrapped from this machine's own apt sources.
make_debian_base() {
    command -v apt-get >/dev/null || fail $status_environment "no base image can be had" \
        "no container registry answers, and this machine has no apt to make a base with" \
        "set COSA_BASE to an image that can be pulled, or run on Debian"
    need mmdebstrap
    sources=$(debian_sources)
    if [ -z "$sources" ] && root_user; then
        phase "reading package lists" "$state/log/lists" apt-get update || show_log "$state/log/lists"
        sources=$(debian_sources)
    fi
    [ -n "$sources" ] || fail $status_environment "no base image can be had" \
        "no container registry answers, and apt's sources name no Debian mirror" \
        "set COSA_BASE to an image that can be pulled, or add a Debian mirror to apt's sources"
    keyrings=$(printf '%s\n' "$sources" | sed -n 's/.*signed-by=\([^] ]*\).*/\1/p' | tr , '\n' | sort -u)
    base=$name-base:$({ printf '%s\n' "$sources"; apt_options; [ -z "$keyrings" ] || cat $keyrings; } | digest)
    quiet_podman image exists "$base" && return 0
    printf '%s\n' "$sources" >"$state/sources.list"
    apt_options >"$state/apt.conf"
    phase "making a base image from this machine's apt sources" "$state/log/base" bootstrap && return 0
    show_log "$state/log/base"
    fail $status_environment "the base image could not be made" "mmdebstrap or podman failed" \
        "mend what the log says, then run this again"
}

bootstrap() {
    tar=$state/base.tar
    hooks=
    for keyring in $keyrings; do # a mirror's own keys go along
        case $keyring in
        */debian-archive-*) ;;
        *) hooks="$hooks --customize-hook=copy-in\ $keyring\ ${keyring%/*}" ;;
        esac
    done
    eval "set -- $hooks"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates --aptopt="$state/apt.conf" \
        --dpkgopt=force-unsafe-io "$@" "$suite" "$tar" "$state/sources.list" &&
        quiet_podman import --quiet "$tar" "$base" || return 1
    rm -f "$tar"
}

# build_on BASE: sets `base`, `image`, `globals` and `options`; false if that base does not do.
build_on() {
    base=$1
    find_settings "$base" || {
        printf 'podman cannot run a container here\n' >>"$state/log/trial"
        cp "$state/log/trial" "$state/log/image"
        return 1
    }
    family=fedora
    quiet_podman run --rm --pull=never $options "$base" sh -c 'command -v apt-get' >/dev/null 2>&1 </dev/null &&
        family=debian
    ident=$(quiet_podman image inspect --format '{{.Id}}' "$base")
    tools=$name-tools:$({ echo "$ident"; gotools_inputs; } | digest)
    image=$name:$({ echo "$ident $family"; image_inputs; } | digest)
    quiet_podman image exists "$image" && return 0
    # Go programs and distribution packages come side by side; the last step joins them.
    phase "building the assembler image on $family (some minutes, once)" "$state/log/image" build_both
}

gotools_inputs() {
    (cd "$root" && sha256sum assembler/go.sh assembler/install.sh assembler/go/*)
}

build_both() {
    build_stage family "" || return 1 # shared: side by side each would make its own
    build_stage gotools "$tools" >"$state/log/image-go" 2>&1 &
    beside=$!
    build_stage tools "" || {
        kill $beside || :
        wait $beside || :
        return 1
    } 2>/dev/null
    wait $beside || { cat "$state/log/image-go"; return 1; }
    build_stage assembler "$image"
}

# build_stage TARGET TAG: layers that exist are taken from podman's cache.
build_stage() {
    set -- --target="$1" ${2:+--tag="$2"} --build-arg=BASE="$base" --build-arg=FAMILY="$family" \
        --file="$root/Containerfile" --ignorefile="$root/assembler/containerignore"
    while IFS= read -r pair; do
        set -- "$@" --volume="$pair:ro"
    done <<EOF
$(registry_files)
EOF
    quiet_podman build --pull=never --isolation=chroot --network=host --layers --force-rm "$@" "$root"
}

build_failed() {
    show_log "$state/log/image"
    fail $status_environment "the assembler image could not be built" "" \
        "mend what the log says (often a registry that did not answer), then run this again"
}

# What a killed build left: we hold the lock, so containers of our images are nobody's.
tidy_interrupted() {
    rm -f "$state/base.tar"
    quiet_podman ps --all --external --format '{{.ID}} {{.Image}} {{.Command}}' 2>/dev/null |
        sed -n "s|^\([0-9a-f]*\) ${name}[^ ]* buildah\$|\1|p" |
        while read -r leftover; do quiet_podman rm --force "$leftover" >/dev/null 2>&1 9>&- || :; done
}

# Images this checkout used before and no other checkout still uses.
remove_replaced() {
    record=$state/used-$checkout
    printf '%s\n' "$root" "$image" "$tools" "$base" >"$record.new"
    old=$(sed 1d "$record" 2>/dev/null || :)
    mv "$record.new" "$record"
    for file in "$state"/used-*; do # checkouts that are gone hold nothing
        [ -d "$(sed -n 1p "$file")" ] || { old="$old $(sed 1d "$file")"; rm -f "$file"; }
    done
    for tag in $old; do
        case $tag in "$name"*) ;; *) continue ;; esac
        grep -qxF "$tag" "$state"/used-* || quiet_podman rmi "$tag" >/dev/null 2>&1 9>&- || :
    done
    quiet_podman image prune --force --filter label=io.cosa.assembler >/dev/null 2>&1 9>&- || :
}
