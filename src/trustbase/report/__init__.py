"""The report a person reads, in English and Chinese."""
