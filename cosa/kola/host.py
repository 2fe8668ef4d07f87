"""How guests run on this machine: accelerator, patience; and what to say if none can."""

from __future__ import annotations

from dataclasses import dataclass

from cosa.core.errors import CosaError, ExitClass

# TCG was measured at 5 to 8 times KVM's time for a boot; a busy machine is slower still.
SLOWDOWN = {"kvm": 1.0, "tcg": 8.0}


@dataclass(frozen=True)
class Host:
    """How guests run here: the accelerator, and how much to stretch every time-out."""

    accelerator: str = "tcg"
    patience: float = 1.0

    def limit(self, seconds: float) -> float:
        """A time-out under KVM, stretched for this machine."""
        return seconds * SLOWDOWN[self.accelerator] * self.patience


def not_run(what: str, cause: CosaError) -> CosaError:
    """The error of a test that could not even start because of what befell an earlier one."""
    return CosaError("kola/not-run", f"not run: {what}", why=str(cause), exit_class=ExitClass.TESTS)
