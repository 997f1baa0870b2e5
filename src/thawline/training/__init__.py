"""Training according to a plan, and scoring."""
