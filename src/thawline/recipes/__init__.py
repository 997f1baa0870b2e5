"""Published studies as recipes: read them, expand them into cells, run the cells and build their tables."""
