"""Observability of a running server: metrics, traces and logs."""
