"""Run Chatbase (chatbase.co) AI support agents from Apache Airflow."""

__version__ = "0.1.0"
