"""What the files of a shop tell about how it is installed, started and tested: a draft of its ``delivery.yaml``."""
