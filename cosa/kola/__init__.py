"""Tests of guests: machines, judges of their consoles, a pytest plugin, reports."""
