"""Plans the training of several recipes, and trains them side by side."""
