"""The sum at the end of a run: how good and fresh the scores were, and where every impression went.

Reads: all topics of the job, or the files that a backfill has read; the replicas' freshness.
Writes: nothing; `jobs.run` keeps it as RUN/summary.json.
Never imports: TensorFlow, Flink.
"""
