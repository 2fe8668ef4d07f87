# What people see of the set-up: one line a phase, the log only when something fails.
# shellcheck shell=sh disable=SC2154

say() { printf 'cosa: %s\n' "$*" >&2; }

# fail STATUS WHAT [WHY [FIX]], in the words the program itself would use.
fail() {
    printf 'error: %s\n' "$2" >&2
    [ -z "${3:-}" ] || printf '  why    %s\n' "$3" >&2
    [ -z "${4:-}" ] || printf '  next   %s\n' "$4" >&2
    exit "$1"
}

# phase LABEL LOG COMMAND...: run it with its output in LOG, showing that time passes.
# Its status is the command's; the lock (fd 9) stays ours alone.
phase() {
    label=$1 log=$2
    shift 2
    mkdir -p "${log%/*}"
    began=$(date +%s)
    if [ -t 2 ]; then
        printf 'cosa: %s ... ' "$label" >&2
        (
            while sleep 1; do
                printf '\rcosa: %s ... %d s ' "$label" $(($(date +%s) - began)) >&2
            done
        ) 9>&- &
        clock=$!
    else
        say "$label ..."
        clock=
    fi
    result=0
    "$@" >"$log" 2>&1 </dev/null 9>&- || result=$?
    if [ -n "$clock" ]; then
        kill "$clock" 2>/dev/null
        wait "$clock" 2>/dev/null || :
        printf '\r' >&2
    fi
    if [ "$result" = 0 ]; then
        say "$label: done in $(($(date +%s) - began)) s    "
    else
        say "$label: failed after $(($(date +%s) - began)) s"
    fi
    return "$result"
}

# show_log LOG: its last lines, for an error.
show_log() {
    printf '  last lines of %s:\n' "$1" >&2
    tail -n 30 "$1" | sed 's/^/  | /' >&2
}
