"""A database in SQLite or PostgreSQL: both run the same statements.

`store` opens it, with a transaction for reading and one for writing, on the connections of
`engines`. `errors` says what a failure of the database is to a request, and `erasure` has what
erasing on a full disk needs.
"""
