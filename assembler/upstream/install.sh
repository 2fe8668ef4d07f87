#!/bin/sh
# Puts what pipelines look for inside upstream's container where they look for it:
#   install.sh [ROOT]
# commands.txt says which commands there are; a second word makes it a link to that one.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${1:-}
library=$root/usr/lib/coreos-assembler
mkdir -p "$library" "$root/usr/local/bin"

while read -r name target; do
    case $name in '' | '#'*) continue ;; esac
    if [ -n "$target" ]; then
        ln -sfn "cmd-$target" "$library/cmd-$name"
    else
        install -m 755 "$here/cmd" "$library/cmd-$name"
    fi
done <"$here/commands.txt"
install -m 644 "$here/cmdlib.sh" "$here/v1.json" "$library/"
install -m 755 "$here/cosa" "$root/usr/local/bin/cosa"
ln -sfn cosa "$root/usr/local/bin/coreos-assembler"
