"""The board: pages for people, rendered here and made live by a little script."""
