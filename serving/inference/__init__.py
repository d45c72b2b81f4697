"""Runs models: loads artifacts, admits and batches pictures, and makes answers.

There is no HTTP in this package.
"""
