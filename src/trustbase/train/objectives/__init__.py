"""What is minimised: one file for each way of learning, all over the same loop.

An objective gives the losses of a batch as *terms* by name, each with one number for every unit (see `batches.Batch`); the update
rule weighs, clips or privatises them. Objectives of pretraining also say how rows are made of documents (`base.TextObjective`).
"""
