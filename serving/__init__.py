"""The server: pictures in, answers out, over HTTP or in process through the same code.

`serving.client` is what other rooms import; it needs neither BentoML nor FastAPI.
"""
