"""Gitea and Forgejo over HTTP: what the Git host and the tracker share. Both servers speak the same API, version 1."""
