"""What a network looks at, and what fine-tuning changed in it."""
