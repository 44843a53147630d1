"""A Kubernetes API server that keeps state, over HTTP: as much of it as deliveries use, and its ways to fail.

It stands where a real control plane cannot be had. Both pass ``tests/contracts/test_platform_contract.py``.
"""
