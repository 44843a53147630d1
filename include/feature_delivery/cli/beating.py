"""Says whether this host's job of Airflow is alive, by the same row as ``airflow jobs check``, without loading Airflow.

    python -m feature_delivery.cli.beating TriggererJob

For health checks: asked every minute, those seconds of processor time that Airflow takes to load are the most that an
idle server does, and on a busy one the check runs out of time although the job is well. Ends with 1 and a sentence when
there is none.
"""

from __future__ import annotations

import os
import socket
import sys

OLD_SECONDS = 45
"""Both jobs beat every five seconds; a busy database delays some."""

QUERY = """
    SELECT count(*) FROM job
    WHERE job_type = %s AND hostname = %s AND state = 'running' AND latest_heartbeat > now() - %s * interval '1 second'
"""


def is_beating(address: str, kind: str, host: str) -> bool:
    """Say whether a job of that kind has beaten on that host within ``OLD_SECONDS``.

    ``address``: of Airflow's database, as SQLAlchemy writes it.
    """
    import psycopg2  # noqa: PLC0415 - asked for by whoever checks only

    plain = address.replace("postgresql+psycopg2://", "postgresql://", 1)
    connection = psycopg2.connect(plain, connect_timeout=10, options="-c statement_timeout=10000")
    try:
        with connection.cursor() as cursor:
            cursor.execute(QUERY, (kind, host, OLD_SECONDS))
            found = cursor.fetchone()
    finally:
        connection.close()
    return found is not None and found[0] > 0


def main(kind: str) -> str:
    """Return what is wrong; empty when all is well."""
    import psycopg2  # noqa: PLC0415 - as above

    host = socket.gethostname()
    try:
        found = is_beating(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], kind, host)
    except psycopg2.Error as error:
        # Its text may name the address with the password.
        return f"Could not ask the database for a {kind} on {host}: {type(error).__name__}."
    return "" if found else f"No {kind} of {host} has beaten within {OLD_SECONDS} seconds. Look at its log."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
