"""Everything that imports ``airflow.sdk``: operators, gates, the DAGs. Loaded by the DAG processor and by workers."""
