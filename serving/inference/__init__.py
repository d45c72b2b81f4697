"""Runs models: loads artifacts, admits and batches pictures, and makes answers.

`models` are opened with a runtime of `runtimes`; `admission` reserves room for pictures; `scheduler`
runs them in batches; `results` makes the answer. There is no HTTP in this package.
"""
