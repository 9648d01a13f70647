"""Which parameters are trained, and what is put beside the others: one file for each way, and what they share."""
