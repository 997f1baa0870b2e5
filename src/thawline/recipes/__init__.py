"""Published studies as recipes: read, expand into cells, run, tabulate."""
