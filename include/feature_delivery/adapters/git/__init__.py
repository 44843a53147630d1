"""Git: one private mirror per project, plumbing commands only, nothing of the machine's own Git settings.

GitPython starts the commands. It looks for ``git`` when it is imported and would raise then; a missing ``git`` is
reported by the first command instead, with a sentence.
"""

from __future__ import annotations

import os

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
