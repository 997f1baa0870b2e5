"""`serve`: a page on this machine that classifies dropped photos."""
