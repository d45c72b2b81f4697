"""Indexes of pictures: embeddings of a folder's pictures, in which similar ones are searched.

`stored.py` is the format on disk, `search.py` the FAISS index inside it, and `partial.py` what an
interrupted run leaves behind.
"""
