"""The demo: a shop, its people, and the scenarios they act out through the same ways that real people have."""
