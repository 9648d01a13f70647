"""Base models, tasks, adaptations, checkpoints, and the Predictor that asks them."""
