"""The embedded stack: every part of the loop as a process of its own on this machine.

Reads: a job file.
Writes: a run directory.
Never imports: what the parts themselves are made of; it starts them, watches them and stops them.
"""
