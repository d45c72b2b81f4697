"""Tells pictures of the kinds that a classifier was made for from pictures of other things.

`detector` gives the verdict `known` or `cannot_say` from the features and logits of a picture,
`fitting` makes a detector, `outliers` and `generated` have pictures of other things, and `record`
is what the manifest says about it. `sets` has the sets of classes that hold the truth.
"""
