"""Carries one feature of an online shop from issue to production, as one Airflow DAG run."""
