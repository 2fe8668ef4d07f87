#!/bin/bash
# Before the emergency shell: say what failed, and what it said, on every console.
report() {
    local unit units
    units=$(systemctl list-units --state=failed --plain --no-legend --no-pager | awk '{print $1}')
    echo
    echo "------"
    case $units in
        *ignition-*) echo "Ignition has failed. Please check that the config is valid (ignition-validate)." ;;
        *) echo "The system could not be started from its disk." ;;
    esac
    for unit in $units; do
        echo
        echo "Log of the failed unit $unit:"
        journalctl --boot --no-pager --no-hostname --output=cat --unit="$unit" | tail -n 20
    done
    echo "------"
    echo
}
text=$(report)
read -ra consoles < /sys/class/tty/console/active
for console in "${consoles[@]}"; do
    printf '%s\n' "$text" | sed 's/$/\r/' > "/dev/$console"
done
# Whoever tests this OS may listen on a port of the virtual machine: the journal, an entry a
# line as JSON, and an empty one at its end.
port=/dev/virtio-ports/com.coreos.ignition.journal
if [ -e "$port" ]; then
    { journalctl --boot --no-pager --output=json; echo '{}'; } > "$port"
fi
