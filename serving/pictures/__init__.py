"""Turns the bytes of a request into RGB pixels, trusting nothing about those bytes.

`header` reads formats and sizes without decoding, `limits` says what is accepted, `decode` makes
the pixels, and `cancellation` lets a thread stop when its client has gone away.
"""
