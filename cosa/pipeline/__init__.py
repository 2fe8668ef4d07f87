"""What a build is made of, what may be reused, what runs beside what."""
