"""Asks the real service what its documents leave open: ``python -m airflow_provider_chatbase.check``."""
