"""Who runs what: the job file, the command line, the embedded stack, traffic and the dashboard.

Reads: one YAML file.
Writes: one run directory.
Never imports: nothing; it alone knows every stage.
"""
