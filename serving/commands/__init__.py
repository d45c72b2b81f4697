"""The commands that ask a server, or an artifact in process, about files."""
