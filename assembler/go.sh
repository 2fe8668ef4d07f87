#!/bin/sh
# Builds the Go programs go.mod pins: go.sh SOURCE OUT. Everything else it needs is gone afterwards.
set -eu
src=$1 out=$2
if command -v apt-get >/dev/null; then go=golang-go; else go=golang; fi
sh /usr/local/libexec/cosa-install "$go" ca-certificates
# shellcheck source=/dev/null
[ -r /run/cosa-host/env ] && . /run/cosa-host/env
scratch=$(mktemp -d)
export GOPATH="$scratch/path" GOCACHE="$scratch/cache" GOTMPDIR="$scratch" GOTOOLCHAIN=local CGO_ENABLED=0
export GOFLAGS="-mod=readonly -modcacherw -trimpath -buildvcs=false"
mkdir -p "$out/bin" "$out/share/cosa"
cd "$src"

build() { # NAME MODULE PACKAGE: the version a program tells is the one go.mod pins
    version=$(go list -m -f '{{.Version}}' "$2")
    go build -ldflags "-s -w -X $2/internal/version.Raw=${version#v}" -o "$out/bin/$1" "$2/$3"
}

for pause in 3 15 0; do
    build butane github.com/coreos/butane internal &&
        build ignition-validate github.com/coreos/ignition/v2 validate && break
    [ "$pause" = 0 ] && exit 1
    sleep "$pause"
done
go env GOPROXY >"$out/share/cosa/goproxy" # for cosa doctor
rm -rf "$scratch"
"$out/bin/butane" --version
