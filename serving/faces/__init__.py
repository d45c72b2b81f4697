"""Faces: verify that two are of one person, and identify one among those enrolled in the gallery.

`database`, `reader` and `writer` keep the gallery in SQL, which is authoritative. `index` is one
worker's FAISS cache of it, and `gallery` keeps that cache up to date; or else `pgvector_index` has
PostgreSQL search a column that `pgvector` fills. `crops` finds the face in a picture.
"""
