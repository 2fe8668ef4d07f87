"""cosa: from RPMs to a booted, tested, released operating system."""

__version__ = "0.1.0"
