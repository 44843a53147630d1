"""How a task proves which task instance it is: by a secret whose seal Airflow itself wrote beside that instance.

Only the supervisor of a running task can have Airflow write there, with the token that Airflow made for that very try
and shows to no code of a task. Whoever reads the seal, in Airflow's pages or in its database, learns no secret from it.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "Feature-Delivery-Proof"


def seal(secret: str) -> str:
    """Return what is written where others can read it; people too, in a list of Airflow's, so it is short."""
    return f"seal-{hashlib.sha256(secret.encode()).hexdigest()[:24]}"


def opens(secret: str, found: str) -> bool:
    """Say whether ``found`` is the seal of a secret; an empty secret opens nothing."""
    return bool(secret) and hmac.compare_digest(seal(secret).encode(), found.encode())
