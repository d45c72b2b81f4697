"""Indexes of pictures: embeddings of a folder's pictures, in which similar ones are searched.

`stored.py` is the format, `search.py` the FAISS index inside it. Both need the extra `serve`.
"""
