"""What is wanted: the recipe's schema, its reading, and the registry of what it may name."""
