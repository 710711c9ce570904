"""Stage 4: updates in, scores out.

Reads: the Kafka topic `updates`, dense versions by reference.
Writes: answers to `POST /v1/predict`.
Never imports: pyflink, the joiner, jobs.
"""
