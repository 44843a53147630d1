"""The dialects in which hosts and trackers send webhooks: one module each, pure functions of headers and bytes."""
