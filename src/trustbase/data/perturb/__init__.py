"""Typed changes of texts that leave what is said, or nearly: misspellings, capitals, marks, look-alikes; in Chinese homophones and scripts.

`recipe.lookup.PERTURBATIONS` names them. Each is `change(text, rng, rate)`: the changed text, or None where it cannot be made of this one.
`inputs.perturbed` makes them of what a model is asked, drawn by seed and content, so that the order of rows and texts means nothing.
"""
