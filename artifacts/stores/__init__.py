"""Artifacts elsewhere: pulled from and pushed to the URLs that fsspec opens, such as s3://."""
