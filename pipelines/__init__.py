"""Stage 1: events in, training examples out.

Reads: the Kafka topics `features` and `actions`.
Writes: the Kafka topics `examples` and `dead-letters`.
Never imports: tensorflow, model, ps, serving, jobs.
"""
