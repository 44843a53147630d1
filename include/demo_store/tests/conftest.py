import os
import tempfile

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Write the report to $JUNIT_XML when the command names no file; keep scratch files apart from other runs'.

    Suites run in parallel: in pytest's shared directory one would clean up under the feet of the other.
    """
    config.option.xmlpath = config.option.xmlpath or os.environ.get("JUNIT_XML")
    if not config.option.basetemp:
        scratch = tempfile.TemporaryDirectory(prefix="shop-tests-")
        config.add_cleanup(scratch.cleanup)
        config.option.basetemp = os.path.join(scratch.name, "run")
