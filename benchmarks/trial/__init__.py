"""A fair trial of `auto` against other ways to spend the same work, on fresh splits of real data."""
