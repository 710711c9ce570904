"""The dashboard: one page that shows a running job, pushed to the browser, without internet access.

Reads: what `jobs.observe` sees; the logs and the job file of one run directory.
Writes: nothing.
Never imports: TensorFlow, Flink, pyarrow.
"""
