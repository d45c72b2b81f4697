"""Training a classifier on your own pictures, and the page that describes the result."""
