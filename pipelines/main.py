"""What `flink run -py pipelines/main.py --pyFiles FILE.zip … --settings JOB.json [--jars JAR …]` executes;
`FILE.zip` holds `pipelines/`.

The settings are a job file as JSON, of which the joiner takes `name`, `seed`, `kafka`, `schema` and `joiner`.
The jars go with the job. Everything that differs from cluster to cluster (checkpoint directory, interpreter,
state backend) is Flink configuration.
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
    parser.add_argument("--jars", type=Path, nargs="*", default=[], help="what the cluster lacks")
    arguments = parser.parse_args()
    job = JoinJob.model_validate_json(arguments.settings.read_bytes())
    env = StreamExecutionEnvironment.get_execution_environment()
    build(env, job, arguments.jars)
    env.execute(job.name)


if __name__ == "__main__":
    main()
