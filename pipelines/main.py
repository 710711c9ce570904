"""What `flink run -py pipelines/main.py --pyFiles FILE.zip … --settings JOB.json [--archive] [--resume]
[--jars JAR …]` executes; `FILE.zip` holds `pipelines/`. With `--archive` the job is the archive, else the
joiner; with `--resume` it goes on from the newest checkpoint in the directories of its configuration.

The settings are a job file as JSON, of which the joiner takes `name`, `seed`, `kafka`, `schema` and `joiner`;
`${NAME}` in its texts is taken from the environment. The jars go with the job. Everything that differs from
cluster to cluster (checkpoint directory, interpreter, state backend) is Flink configuration.
"""

import argparse
import json
import os
from pathlib import Path

from pyflink.datastream import StreamExecutionEnvironment

from pipelines.archive import build_archive
from pipelines.recovery import go_on
from pipelines.settings import JoinJob, joiner_name
from pipelines.topology import build
from pipelines.variables import filled_in


def main() -> None:
    """Submits the job to the cluster that `flink run` was called for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    # `-Dpipeline.jars` would say the same, but `flink run` overwrites it.
    parser.add_argument("--jars", type=Path, nargs="*", default=[], help="what the cluster lacks")
    parser.add_argument("--archive", action="store_true")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    job = read_job(arguments.settings)
    env = StreamExecutionEnvironment.get_execution_environment()
    if arguments.resume:
        go_on(env, job)
    (build_archive if arguments.archive else build)(env, job, arguments.jars)
    env.execute(joiner_name(job.name, job.joiner))


def read_job(settings: Path) -> JoinJob:
    """The job in the JSON file `settings`. Raises SystemExit when it needs a variable that is not set."""
    try:
        filled = filled_in(json.loads(settings.read_bytes()), os.environ)
    except KeyError as unset:
        raise SystemExit(f"{settings}: the environment variable {unset.args[0]} is not set.") from unset
    return JoinJob.model_validate_json(json.dumps(filled))


if __name__ == "__main__":
    main()
