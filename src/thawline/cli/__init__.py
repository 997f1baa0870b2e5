"""The command line: parses, calls `api`, prints."""
