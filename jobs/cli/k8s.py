"""`freshet k8s`: the joiner for the Flink Kubernetes operator."""

from pathlib import Path

import click

from jobs.cli.command import command, print_json
from jobs.cli.jobfile import job_arguments


@command
@job_arguments
def k8s(file: Path, overrides: tuple[str, ...], is_json: bool) -> None:
    """Print the joiner of a job as a manifest for the Flink Kubernetes operator, application mode.

    Reads kafka, schema, joiner and kubernetes of the job file. Of kafka.client, ${NAME} stays a reference to
    the Secret kubernetes.secret (NAME-joiner), which you create; the variable need not be set here. Apply it
    again after a change: the operator stops the job with a savepoint and goes on from it.

    \b
    Examples:
      freshet k8s films.yaml --set kubernetes.image=registry/films:7 | kubectl apply -f -
      freshet k8s films.yaml --json         as a List, for programs

    Exit status: 0 done, 2 the file can't be run by pods, and why.
    """
    from jobs.kubernetes import check_kubernetes, manifest, manifest_text
    from jobs.load import load_job

    job = load_job(file, overrides, (check_kubernetes,), keeps_secrets=True)
    if is_json:
        print_json({"apiVersion": "v1", "kind": "List", "items": manifest(job)})
    else:
        click.echo(manifest_text(job), nl=False)
