"""Run example_dags/chatbase_quickstart.py in real Airflow, and show what it did."""
