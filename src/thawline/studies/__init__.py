"""Tuning, comparing and proving strategies on one data set."""
