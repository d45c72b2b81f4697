"""The page of `vitrine train watch --page`: runs as they train, in a browser."""
