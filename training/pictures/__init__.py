"""Training on pictures of one's own: finding them, inspecting them and dividing them."""
