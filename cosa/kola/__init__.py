"""The test harness: machines in QEMU, on pytest."""
