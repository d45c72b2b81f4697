"""The server: it answers questions about pictures, over HTTP or in process with the same code.

Other top-level packages use `serving.client`, which needs neither BentoML nor FastAPI.
"""
