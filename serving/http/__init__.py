"""The HTTP surface: everything that knows what a request is.

A request passes `middleware`, `access` and `body`, reaches one of `routes`, and is answered through
`intake`, which takes its pictures in and has the model answer.
"""
