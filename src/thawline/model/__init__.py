"""The network: loading it, its blocks, what they cost, and the one place that freezes."""
