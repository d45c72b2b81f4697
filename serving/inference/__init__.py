"""Runs models: loads artifacts, admits and batches pictures, and makes answers.

A model of `models` has a runtime of `runtimes`. `admission` reserves room for pictures, `fair_pool`
decodes them and `scheduler` runs them in batches, both in the turns of `fair_queue`, whose `costs`
are measured. `results` makes the answer. There is no HTTP in this package.
"""
