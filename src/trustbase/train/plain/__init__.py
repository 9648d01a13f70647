"""How the models that a person can read are learned, by scikit-learn; what ships needs it no more."""
