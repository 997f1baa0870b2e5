"""Which blocks of a pretrained vision model to train on your images, and how fast each: thawline measures it."""

__version__ = "0.1.0"
