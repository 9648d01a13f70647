"""From a trained checkpoint to the artefact that is shipped."""
