"""
A stand-in for the Chatbase API, to run against without an account.

It speaks API v2 and v1 over real HTTP, as far as the public documentation describes them, and can be told to
fail in every way that a network and a service fail. It needs the extra ``simulator``.
"""

from airflow_provider_chatbase.simulator.faults import Fault
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.simulator import Simulator

__all__ = ["Fault", "Settings", "Simulator"]
