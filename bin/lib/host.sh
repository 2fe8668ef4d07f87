# What this machine knows about registries: apt's sources and options, pip's and Go's
# settings, the bundle of certificates. Addresses come from here, never from the project.
# shellcheck shell=sh disable=SC2154

root_user() { [ "$(id -u)" = 0 ]; }

# The bundle of certificate authorities this machine trusts, nothing if there is none.
ca_bundle() {
    for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt \
        /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
        if [ -n "$bundle" ] && [ -r "$bundle" ]; then
            readlink -f -- "$bundle"
            return
        fi
    done
}

apt_files() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
        /etc/apt/sources.list.d/*.sources /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        [ -f "$file" ] && printf '%s\n' "$file"
    done
    return 0
}

# apt's options that concern the network, as a configuration file.
apt_options() {
    command -v apt-config >/dev/null || return 0
    apt-config dump |
        grep -E '^Acquire::(http|https|ftp|Retries|Check-|ForceIPv|Queue-Mode|Languages)' |
        grep -viE 'auto-detect|CAInfo|CAPath|Ssl(Cert|Key)|::User-Agent|" *";$|"";$' || :
}

# Every enabled binary source as URI SUITE OPTIONS|COMPONENTS, from both of apt's formats.
apt_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && awk -f "$root/bin/lib/one-line.awk" "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && awk -f "$root/bin/lib/deb822.awk" "$file"
    done
    return 0
}

# debian_sources: the sources of the Debian distribution, for our suite, one-line format.
# apt's own lists say which of them are Debian's; a third party may well use Debian's suite names.
debian_sources() {
    # shellcheck disable=SC2016  # the dollars are apt's
    debian=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        sed -n 's/^Debian //p' | sort -u)
    # shellcheck source=/dev/null
    host_suite=$(. "${os_release:-/etc/os-release}" && printf '%s' "${VERSION_CODENAME:-sid}")
    apt_sources | while IFS='|' read -r uri from options components; do
        tail=${from#"$host_suite"}
        [ "$tail" != "$from" ] || tail=${from#oldstable}
        [ "$tail" != "$from" ] || tail=${from#stable}
        [ "$tail" != "$from" ] || tail=${from#testing}
        case $tail in
        '' | -updates | -security | /updates) ;;
        *) continue ;;
        esac
        printf '%s\n' "$debian" | grep -qxF "${uri%/}/ $from" || continue
        [ "$tail" != /updates ] || tail=-security
        printf 'deb %s%s %s%s %s\n' "$options" "$(plain_uri "$uri")" "$suite" "$tail" "$components"
    done | sort -u
}

# mirror+file: names a file of this machine: its first mirror serves the image.
plain_uri() {
    case $1 in
    mirror+file:* | mirror:file:*)
        awk '!/^#/ && NF { print $1; exit }' "${1#*file:}"
        ;;
    *) printf '%s\n' "$1" ;;
    esac
}

# host_folder FOLDER: writes what steps of the image build read in /run/cosa-host.
host_folder() {
    mkdir -p "$1"
    apt_options >"$1/apt.conf"
    : >"$1/env.new"
    bundle=$(ca_bundle)
    if [ -n "$bundle" ]; then
        cat "$bundle" >"$1/ca.crt"
        echo 'Acquire::https::CAInfo "/run/cosa-host/ca.crt";' >>"$1/apt.conf"
        for variable in SSL_CERT_FILE CURL_CA_BUNDLE PIP_CERT REQUESTS_CA_BUNDLE \
            GIT_SSL_CAINFO CARGO_HTTP_CAINFO NODE_EXTRA_CA_CERTS; do
            echo "export $variable=/run/cosa-host/ca.crt" >>"$1/env.new"
        done
    fi
    echo 'export APT_CONFIG=/run/cosa-host/apt.conf' >>"$1/env.new"
    registry_settings >>"$1/env.new"
    ! command -v apt-get >/dev/null || debian_sources >"$1/sources.list" 2>/dev/null || :
    mv "$1/env.new" "$1/env"
}

# The settings of pip, Go, cargo and npm in this environment, as `export` lines.
registry_settings() {
    for variable in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT \
        PIP_PROXY GOPROXY GOSUMDB GONOSUMDB GOPRIVATE GONOPROXY GOINSECURE \
        CARGO_HTTP_PROXY CARGO_NET_OFFLINE npm_config_registry NPM_CONFIG_REGISTRY \
        http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "value=\${$variable:-}"
        case $variable in
        GO*) [ -n "$value" ] || ! command -v go >/dev/null || value=$(go env "$variable" 2>/dev/null) ;;
        esac
        [ -z "$value" ] || printf "export %s='%s'\n" "$variable" "$(printf %s "$value" | sed "s/'/'\\\\''/g")"
    done
}

# registry_files [HERE:THERE...]: files that set up package registries on this machine, and
# where programs of the image look for them; of those given, too, what exists.
registry_files() {
    printf '%s\n' "$host:/run/cosa-host"
    home=${HOME:-/root}
    for pair in "${PIP_FIND_LINKS:-}:${PIP_FIND_LINKS:-}" /etc/pip.conf:/etc/pip.conf \
        "$home/.config/pip/pip.conf:/root/.config/pip/pip.conf" "$home/.pip/pip.conf:/root/.pip/pip.conf" \
        "$home/.npmrc:/root/.npmrc" "$home/.cargo/config.toml:/root/.cargo/config.toml" "$@"; do
        case $pair in /*) [ ! -e "${pair%%:*}" ] || printf '%s\n' "$pair" ;; esac
    done
}
