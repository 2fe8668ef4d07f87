"""GRUB's texts, and the boot entry, as far as they can be judged without booting."""

from __future__ import annotations

from cosa.images import bootloader
from cosa.images.platform import with_kargs

CONSOLE = "# mine\n# CONSOLE-SETTINGS-START\nserial\n# CONSOLE-SETTINGS-END\nset x=1\n"


def test_console_block_is_replaced_and_the_rest_kept():
    text = bootloader.replace_console(CONSOLE, ["a", r"b \1"])
    assert text == ("# mine\n# CONSOLE-SETTINGS-START\na\nb \\1\n# CONSOLE-SETTINGS-END\nset x=1\n")
    assert bootloader.replace_console(text, ["serial"]) == CONSOLE


def test_console_block_is_added_where_there_is_none():
    assert bootloader.replace_console("set x=1\n", []) == (
        "set x=1\n# CONSOLE-SETTINGS-START\n# CONSOLE-SETTINGS-END\n"
    )


def test_kernel_arguments_go_to_the_end_of_the_options_only():
    entry = "title options x\noptions rw $ignition_firstboot ostree=/a\nlinux /options\n"
    assert with_kargs(entry, ["ignition.platform.id=qemu", "console=ttyS0"]) == (
        "title options x\n"
        "options rw $ignition_firstboot ostree=/a ignition.platform.id=qemu console=ttyS0\n"
        "linux /options\n"
    )


def test_every_key_ostree_writes_is_a_function_of_the_configuration():
    """A key GRUB does not know would be an error in the middle of the menu."""
    for key in ("title", "version", "options", "linux", "initrd", "aboot", "abootcfg"):
        assert f"function {key} {{" in bootloader.GRUB_CONFIG
