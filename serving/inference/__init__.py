"""Runs models: loads artifacts, admits and batches pictures, and makes answers.

A model of `models` has a runtime of `runtimes`. `admission` reserves room for pictures, `scheduler`
runs them in batches, and `results` makes the answer. There is no HTTP in this package.
"""
