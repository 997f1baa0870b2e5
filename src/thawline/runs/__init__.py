"""The folder of a run: its files, its ledger, and what is opened from it."""
