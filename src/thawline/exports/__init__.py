"""A trained model as files that other libraries open."""
