"""How the label column of a task's rows is read and written, one file for each answer kind."""
