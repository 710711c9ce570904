"""Traffic: what stands in for the users of a recommender.

Reads: a replayed log, or nothing; serving's answers.
Writes: the `features` and `actions` topics, RUN/traffic.json.
Never imports: TensorFlow, Flink.
"""
