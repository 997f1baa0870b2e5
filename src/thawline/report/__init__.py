"""A run in numbers, tables and pictures."""
