"""The HTTP interface: everything that handles requests.

A request passes through `middleware` to one of `routes`, which checks its key with `access`. Its
pictures are read by `body` and `intake`, which then has the model answer.
"""
