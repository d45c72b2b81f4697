"""The HTTP interface: everything that handles requests.

A request passes `middleware` first. Plain classify requests are answered by `fast_path`, all others
by one of `routes`. A route may check the request's key with `access`. Both have `intake` answer: it
reads the body with `body`, admits and decodes the pictures, and runs the model.
"""
