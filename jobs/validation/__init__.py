"""Whether a job file is right: `shape` says what may stand in it, `meaning` what goes together.

Reads: a job, parsed; `replayable` also the names of files and columns.
Writes: nothing; mistakes come back, each at its path, and `jobs.load` finds the lines.
Never imports: TensorFlow, Flink, the stack.
"""
