"""Airflow with everything it needs, as supervised processes of one machine: no Docker, no server to install."""
