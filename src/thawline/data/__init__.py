"""From a folder of images to pixels in memory and three splits."""
