"""What is released: packing, signing, verifying, the model card."""
