"""Askers: whoever asks a model many things, here or spread over processes that each open a Predictor of the same artefact.

Questions do not travel: what is spread is the asker, with its share of what it asks about.
"""
