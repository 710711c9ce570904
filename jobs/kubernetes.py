"""The joiner as a FlinkDeployment of the Flink Kubernetes operator, in application mode.

The image (`docs/clusters.md`) holds Flink with the connector, the joiner and flink-python in
`/opt/flink/lib`, Python with Freshet's packages as `python3`, and `pipelines/` in `/opt/freshet`. All else
comes from the job file: the joiner's part of it goes into a ConfigMap, and what is secret stays in a Secret
of the user's own.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from io import StringIO
from typing import Any, Final

from jobs.document import KeyPath
from jobs.secrets import is_secret
from jobs.spec import Job, PodSettings
from jobs.stack.file_systems import plugin_of
from jobs.stack.flink import state_options
from jobs.stack.layout import PROJECT
from jobs.validation.meaning import check
from jobs.validation.shape import Finding
from pipelines.settings import member_name
from pipelines.variables import VARIABLE, escaped

_HOME: Final = "/opt/freshet"
_JOB: Final = f"{_HOME}/job"
"""Where the ConfigMap is mounted."""
_METRICS_PORT: Final = 9249
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?")
"""What the operator takes for the name of a deployment."""
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\]):")
_JOINER_READS: Final = ("name", "seed", "kafka", "schema", "joiner")
_OF_ONE_MACHINE: Final = re.compile(
    r"rest\.|web\.submit|.*\.(host|bind-host|address)$|.*\.opts\.client$|metrics\.reporter\.prom\.port$"
    r"|(job|task)manager\.memory\.(?!managed\.consumer-weights)"
)
"""What of `flink-conf/` the operator decides itself, or Flink from the memory of a pod."""


def check_kubernetes(job: Job) -> list[Finding]:
    """Every mistake in a job whose joiner is to be run by pods."""
    # That is where the operator makes it answer: no cluster is embedded.
    joiner = job.joiner.model_copy(update={"flink_address": f"{_deployment(job)}-rest:8081"})
    found = check(job.model_copy(update={"joiner": joiner}))
    return [*found, *_image(job), *_brokers(job), *_state(job), *_files(job), *_secrets(job)]


def _image(job: Job) -> Iterator[Finding]:
    if job.kubernetes.image is None:
        message = "is missing: the image with Flink, Python and Freshet that pods run (docs/clusters.md)"
        yield Finding(("kubernetes", "image"), message)
    if not _NAME.fullmatch(_deployment(job)):
        message = (
            f"is no name for a deployment: {_deployment(job)} may have 45 characters and begins with a letter"
        )
        yield Finding(("name",), message)


def _brokers(job: Job) -> Iterator[Finding]:
    path, bootstrap = ("kafka", "bootstrap"), job.kafka.bootstrap
    if bootstrap == "embedded":
        message = "is embedded, a broker of one run on one machine: name yours, host:port as pods reach it"
        yield Finding(path, message)
    elif any(_LOOPBACK.match(address.strip()) for address in bootstrap.split(",")):
        yield Finding(path, "is this machine: a pod would look for the broker in itself")


def _state(job: Job) -> Iterator[Finding]:
    path, url = ("joiner", "state_url"), job.joiner.state_url
    if url is None:
        message = "is missing: checkpoints and savepoints have to outlive pods, such as s3://bucket/joiner"
        yield Finding(path, message)
    elif url.startswith("file:"):
        yield Finding(
            path, "is a disk of a pod, and gone with it: name a shared place, such as s3://bucket/joiner"
        )


def _files(job: Job) -> Iterator[Finding]:
    for name in ("features", "actions"):
        place = getattr(job.joiner.input, name, None)
        if place is not None and (":" not in place or place.startswith("file:")):
            message = f"is on a disk that pods don't have: name a shared place, such as s3://bucket/{name}"
            yield Finding(("joiner", "input", name), message)


def _secrets(job: Job) -> Iterator[Finding]:
    """Secrets would be read by everybody who may read a ConfigMap."""
    for name, text in job.kafka.client.items():
        path: KeyPath = ("kafka", "client", name)
        if is_secret(name) and not _variables_of(text):
            yield Finding(path, "is a secret and stands in the file: write ${NAME}, an entry of the Secret")


def manifest_text(job: Job) -> str:
    """`manifest` as YAML, one document after another."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import LiteralScalarString

    yaml, text = YAML(), StringIO()
    yaml.width = 4096
    config_map, deployment = manifest(job)
    config_map["data"] = {name: LiteralScalarString(file) for name, file in config_map["data"].items()}
    yaml.dump_all([config_map, deployment], text)
    return text.getvalue()


def manifest(job: Job) -> list[dict[str, Any]]:
    """The ConfigMap and the FlinkDeployment of a job that `check_kubernetes` finds nothing in."""
    config_map = _config_map(job)
    return [config_map, _flink_deployment(job, config_map["metadata"]["name"])]


def _config_map(job: Job) -> dict[str, Any]:
    import orjson

    text = orjson.dumps(_settings(job), option=orjson.OPT_INDENT_2).decode() + "\n"
    # A name of its content's: else the operator would not see that the job is another one now.
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    metadata = _metadata(job, f"{_deployment(job)}-{digest}")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"job.json": text}}


def _settings(job: Job) -> dict[str, Any]:
    """What the file sets of the joiner, for `pipelines.main`; variables only where they were kept."""
    told = job.model_dump(mode="json", by_alias=True, exclude_unset=True, include=_included())
    settings: dict[str, Any] = escaped(told)
    if "client" in told.get("kafka", {}):
        settings["kafka"]["client"] = told["kafka"]["client"]
    return settings


def _included() -> set[str]:
    return {"schema_" if name == "schema" else name for name in _JOINER_READS}


def _flink_deployment(job: Job, config_map: str) -> dict[str, Any]:
    kubernetes = job.kubernetes
    return {
        "apiVersion": "flink.apache.org/v1beta1",
        "kind": "FlinkDeployment",
        "metadata": _metadata(job, _deployment(job)),
        "spec": {
            "image": kubernetes.image,
            "flinkVersion": kubernetes.flink_version,
            "serviceAccount": kubernetes.service_account,
            "flinkConfiguration": _configuration(job),
            "podTemplate": _pod_template(job, config_map),
            "jobManager": {"resource": _resource(kubernetes.job_manager)},
            "taskManager": {"resource": _resource(kubernetes.task_manager)},
            "job": _job(job),
        },
    }


def _job(job: Job) -> dict[str, Any]:
    script = ["-pyclientexec", "python3", "-py", f"{_HOME}/pipelines/main.py", "-pyfs", _HOME]
    restore_from = job.joiner.restore_from
    return {
        "jarURI": f"local:///opt/flink/opt/flink-python-{version('apache-flink')}.jar",
        "entryClass": "org.apache.flink.client.python.PythonDriver",
        "args": [*script, "--settings", f"{_JOB}/job.json"],
        "parallelism": job.joiner.parallelism,
        "upgradeMode": "savepoint",
        **({"initialSavepointPath": restore_from} if restore_from else {}),
    }


def _configuration(job: Job) -> dict[str, str]:
    url = job.joiner.state_url
    assert url is not None
    options = {
        **{name: value for name, value in _flink_conf().items() if not _OF_ONE_MACHINE.match(name)},
        "metrics.reporter.prom.port": _METRICS_PORT,
        "python.executable": "python3",
        # CPython lives beside the JVM: the client's in the JobManager's pod, engine python's in the others.
        "jobmanager.memory.jvm-overhead.min": "384m",
        "taskmanager.memory.jvm-overhead.min": "384m",
        **state_options(url),
        # Without it a JobManager that comes back would join everything from where the job once began.
        "high-availability.type": "kubernetes",
        "high-availability.storageDir": f"{url}/ha",
        **job.joiner.flink_options,
    }
    return {name: _text(value) for name, value in options.items()}


def _flink_conf() -> dict[str, Any]:
    from ruamel.yaml import YAML

    conf: dict[str, Any] = YAML(typ="safe").load(PROJECT / "flink-conf" / "config.yaml")
    return conf


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _pod_template(job: Job, config_map: str) -> dict[str, Any]:
    container = {
        "name": "flink-main-container",
        "env": [*_plugins(job), *_environment(job)],
        "ports": [{"name": "metrics", "containerPort": _METRICS_PORT}],
        "volumeMounts": [{"name": "job", "mountPath": _JOB, "readOnly": True}],
    }
    volume = {"name": "job", "configMap": {"name": config_map}}
    return {"spec": {"containers": [container], "volumes": [volume]}}


def _plugins(job: Job) -> Iterator[dict[str, str]]:
    """The official image has them in `/opt/flink/opt`, and puts those where they work that it is told of."""
    given = job.joiner.input
    urls = (job.joiner.state_url, given and given.features, given and given.actions)
    plugins = sorted(filter(None, {plugin_of(url or "") for url in urls}))
    if plugins:
        value = ";".join(f"{plugin}-{version('apache-flink')}.jar" for plugin in plugins)
        yield {"name": "ENABLE_BUILT_IN_PLUGINS", "value": value}


def _environment(job: Job) -> Iterator[dict[str, Any]]:
    secret = job.kubernetes.secret or f"{job.name}-joiner"
    used = (name for text in job.kafka.client.values() for name in _variables_of(text))
    for name in sorted({*used, *job.kubernetes.variables}):
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}


def _variables_of(text: str) -> list[str]:
    return [match[2] for match in VARIABLE.finditer(text) if not match[1]]


def _resource(pod: PodSettings) -> dict[str, Any]:
    return {"cpu": pod.cpu, "memory": pod.memory}


def _deployment(job: Job) -> str:
    return member_name(job.name, job.joiner)


def _metadata(job: Job, name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "freshet", "app.kubernetes.io/instance": job.name}
    namespace: Mapping[str, str] = {"namespace": job.kubernetes.namespace} if job.kubernetes.namespace else {}
    return {"name": name, **namespace, "labels": labels}
