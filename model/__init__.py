"""Stage 2: examples in, gradients out.

Reads: the Kafka topic `examples`, and its archive; rows and dense tensors from the shards.
Writes: gradients to the shards.
Never imports: pyflink, serving, jobs; of pipelines only `schema`, `expansion` and `example_pb2`.
"""
