"""Models that a person can read: linear, tree, rules, boosting; plain numbers on disk, answered by a few lines of numpy."""
