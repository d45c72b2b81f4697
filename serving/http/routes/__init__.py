"""The routes of the API, with one module for each group of addresses."""
