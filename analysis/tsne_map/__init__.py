"""Maps of the features of a model by t-SNE, and a page to explore them."""
