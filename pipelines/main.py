"""What `flink run -py pipelines/main.py --pyFiles FILE.zip … --settings JOB.json` executes; `FILE.zip` holds
`pipelines/`.

The settings are a job file as JSON, of which the joiner takes `name`, `seed`, `kafka`, `schema` and `joiner`.
Everything that differs from cluster to cluster (checkpoint directory, interpreter, state backend) is Flink
configuration.
"""

import argparse
from pathlib import Path

from pyflink.datastream import StreamExecutionEnvironment

from pipelines.settings import JoinJob
from pipelines.topology import build


def main() -> None:
    """Submits the job to the cluster that `flink run` was called for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    job = JoinJob.model_validate_json(parser.parse_args().settings.read_bytes())
    env = StreamExecutionEnvironment.get_execution_environment()
    build(env, job)
    env.execute(job.name)


if __name__ == "__main__":
    main()
