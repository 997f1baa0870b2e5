"""Ways to make a plan; each is one file and one line of the table in this module."""
