"""The receiver for Chatbase's webhook, in Airflow's API server."""
