"""Grad-CAM of a network before and after fine-tuning, and the changes of its blocks."""
