"""Maps of what a model sees as alike: t-SNE of its features, and a page to explore it."""
