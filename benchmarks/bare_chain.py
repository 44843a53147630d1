"""The measure for deliveries: plain Airflow, as many tasks in a row as a delivery has on its critical path."""

import os

from airflow.sdk import DAG, task
from airflow.sdk.bases.operator import chain

with DAG("bare_chain", schedule=None, catchup=False, is_paused_upon_creation=False):
    chain(
        *(
            task(task_id=f"task_{number:02}")(lambda: None)()
            for number in range(int(os.environ["BENCHMARK_CHAIN_LENGTH"]))
        )
    )
