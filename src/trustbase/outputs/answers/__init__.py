"""From a model's scores to its answers, one file for each answer kind: what audit, prediction and server share."""
