"""Judging a release by what was measured: pure rules, the rank test is handed in."""
