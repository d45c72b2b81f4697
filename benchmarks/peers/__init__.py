"""Small servers to compare with, each written as the documentation of its project suggests."""
