import pytest
from client import Customer


@pytest.fixture
def customer():
    return Customer()
