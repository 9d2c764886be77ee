"""Making an agent's sources equal to what is declared, without Airflow's classes."""
