"""Predictions for many images: read, decoded, classified and written as they come; torch only where weights need it."""
