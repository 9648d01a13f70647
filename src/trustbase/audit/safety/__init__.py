"""Safety: what was planted in training rows or model, what must never be answered, what a stranger can copy, and what it is for."""
