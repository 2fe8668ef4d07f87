"""From a treefile and RPMs to an OSTree commit."""
