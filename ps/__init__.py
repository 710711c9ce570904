"""Stage 3: gradients in, rows, snapshots and updates out.

Reads: pulls and pushes of the trainers.
Writes: snapshots; the Kafka topic `updates`.
Never imports: any other stage, tensorflow.
"""
