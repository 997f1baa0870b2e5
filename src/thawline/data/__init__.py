"""Data: from images to decoded pixels and splits."""
