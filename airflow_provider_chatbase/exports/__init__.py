"""Exports: which window, which rows, whole or nothing. Knows the client and a place to write, not Airflow."""
