"""What every other folder stands on: processes, errors, progress, files, cache, clock."""
