"""The embedded default: a signed RPM repository made from Debian packages."""
