"""Training that obeys a plan, and scoring."""
