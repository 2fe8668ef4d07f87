# Sourced: editing kernel arguments in the boot entries (Boot Loader Specification).
# Each entry is replaced by rename, so that a power cut leaves the old or the new.

standin_boot=/run/standin-boot

bls_mount() {
    mkdir -p "$standin_boot"
    mount -o rw "$(realpath /dev/disk/by-label/boot)" "$standin_boot"
}

bls_umount() {
    sync -f "$standin_boot"
    umount "$standin_boot"
}

# bls_kargs ADD... -- REMOVE...   arguments that are there already are not repeated
# Sets bls_changed when an entry was rewritten.
bls_kargs() {
    local add=() remove=() words entry line options word unwanted drop
    bls_changed=
    while [ $# -gt 0 ] && [ "$1" != -- ]; do add+=("$1"); shift; done
    [ $# -eq 0 ] || shift
    remove=("$@")
    for entry in "$standin_boot"/loader/entries/*.conf; do
        line=$(sed -n 's/^options //p' "$entry")
        options=
        read -ra words <<< "$line"
        for word in "${words[@]}"; do
            drop=
            for unwanted in "${remove[@]}"; do [ "$word" != "$unwanted" ] || drop=1; done
            [ -n "$drop" ] || options="$options $word"
        done
        for word in "${add[@]}"; do
            case "$options " in
                *" $word "*) ;;
                *) options="$options $word" ;;
            esac
        done
        options=${options# }
        [ "$options" != "$line" ] || continue
        bls_changed=1
        while IFS= read -r word; do
            case $word in
                "options "*) printf 'options %s\n' "$options" ;;
                *) printf '%s\n' "$word" ;;
            esac
        done < "$entry" > "$entry.new"
        sync "$entry.new"
        mv "$entry.new" "$entry"
    done
}
