"""Finding a plan by training many."""
