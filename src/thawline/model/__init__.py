"""The network: loading, blocks, their work (cost), and applying a plan."""
