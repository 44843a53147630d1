"""Monitoring systems that can be asked what they have measured."""
