"""The `freshet` command.

Reads: arguments, a job file, a run's roles.json.
Writes: what it found, to the terminal or as JSON.
Never imports: anything heavy before a command needs it; `--help` takes 0.3 s at most.
"""
