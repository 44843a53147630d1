import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Write the report to $JUNIT_XML when the command names no file."""
    config.option.xmlpath = config.option.xmlpath or os.environ.get("JUNIT_XML")
