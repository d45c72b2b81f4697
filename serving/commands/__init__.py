"""The commands that ask a server, or an artifact opened in this process, about files."""
