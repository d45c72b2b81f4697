"""Faces: verify two, and identify one among those enrolled in the gallery.

`database` and `store` hold the gallery in SQL, which is the truth; `index` is one worker's FAISS
cache of it, and `gallery` keeps the two together. `crops` is where a picture becomes faces.
"""
