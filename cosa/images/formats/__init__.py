"""Disk formats: each module has `convert(source, out)`."""
