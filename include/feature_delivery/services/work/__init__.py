"""What tasks do: one function per step of the process, over ports. No function knows Airflow.

A step gets a ``Job`` (its permit and its tools) and returns one ``Result``; what kept it from its end is a domain error
or a ``Failed``. Every step may run again at any time: it finds what is there first.
"""
