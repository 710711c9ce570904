"""The manifest, against the operator's own definition of a FlinkDeployment."""

import copy
import json
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from jobs.cli.group import freshet
from jobs.kubernetes import check_kubernetes, manifest
from jobs.load import JobFileError, load_job
from pipelines.settings import JoinJob
from pipelines.variables import filled_in
from tests.films import FILMS

CRD = Path(__file__).parent / "crd" / "flinkdeployments.flink.apache.org-v1.yml"
JOB = (
    FILMS
    + """
seed: 7
kafka:
  bootstrap: kafka.prod:9093
  client:
    security.protocol: SASL_SSL
    sasl.username: films
    sasl.password: ${KAFKA_PASSWORD}
    client.id: is $${not} a variable
joiner:
  parallelism: 3
  state_url: s3://bucket/films
  restore_from: s3://bucket/old/savepoint-1
  flink_options: {s3.endpoint: "https://minio:9000", "parallelism.default": "3"}
kubernetes:
  image: registry/films:7
  namespace: recommender
  variables: [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY]
  task_manager: {cpu: 2, memory: 4g}
"""
)


@cache
def flink_deployment() -> dict[str, Any]:
    """The schema of a FlinkDeployment, in which a field that Kubernetes would drop in silence is an error."""
    (served,) = yaml.load(CRD.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    schema = closed(served["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {}, "metadata": {}}
    # This release of the operator is older than Flink 2, which it would need a later one for.
    schema["properties"]["spec"]["properties"]["flinkVersion"]["enum"].append("v2_3")
    return schema


def closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


@pytest.fixture
def films(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def made(*overrides: str, text: str = JOB) -> list[dict[str, Any]]:
        file = tmp_path / "films.yaml"
        file.write_text(text)
        return manifest(load_job(file, overrides, (check_kubernetes,), keeps_secrets=True))

    return made


def valid(deployment: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(flink_deployment()).is_valid(deployment)


def test_the_manifest_is_what_the_operator_takes(films: Callable[..., list[dict[str, Any]]]) -> None:
    _, deployment = films()
    found = jsonschema.Draft202012Validator(flink_deployment()).iter_errors(deployment)
    assert [error.message for error in found] == []


@pytest.mark.parametrize(
    "path",
    [
        ("spec",),
        ("spec", "job"),
        ("spec", "taskManager", "resource"),
        ("spec", "podTemplate", "spec"),
        ("spec", "podTemplate", "spec", "containers", 0, "env", 1, "valueFrom", "secretKeyRef"),
    ],
)
def test_a_field_that_kubernetes_would_drop_in_silence_is_noticed(
    films: Callable[..., list[dict[str, Any]]], path: tuple[str | int, ...]
) -> None:
    deployment = copy.deepcopy(films()[1])
    block: Any = deployment
    for key in path:
        block = block[key]
    assert valid(deployment)
    block["nonsense"] = "1"
    assert not valid(deployment)


def test_a_value_of_another_type_is_noticed(films: Callable[..., list[dict[str, Any]]]) -> None:
    deployment = copy.deepcopy(films()[1])
    deployment["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"] = 1
    assert not valid(deployment)


def test_the_version_of_flink_is_the_one_that_freshet_is_made_for(
    films: Callable[..., list[dict[str, Any]]],
) -> None:
    spec = films()[1]["spec"]
    major, minor, _ = version("apache-flink").split(".")
    assert spec["flinkVersion"] == f"v{major}_{minor}"
    assert version("apache-flink") in spec["job"]["jarURI"]


def test_a_secret_is_a_reference_wherever_it_was_used(
    films: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    text = json.dumps(films())
    assert "hunter2" not in text
    assert '\\"${KAFKA_PASSWORD}\\"' in text
    container = films()[1]["spec"]["podTemplate"]["spec"]["containers"][0]
    secrets = [each for each in container["env"] if "valueFrom" in each]
    assert secrets == [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "films-joiner", "key": name}}}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "KAFKA_PASSWORD")
    ]


def test_the_joiner_reads_from_the_config_map_what_it_would_read_from_the_file(
    films: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_map, deployment = films()
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    here = load_job(tmp_path / "films.yaml", ["joiner.flink_address=f:1"])
    wanted = JoinJob.model_validate_json(here.model_dump_json(by_alias=True))
    settings = filled_in(json.loads(config_map["data"]["job.json"]), {"KAFKA_PASSWORD": "hunter2"})
    read = JoinJob.model_validate_json(json.dumps(settings))
    assert read.kafka.client["client.id"] == "is ${not} a variable"
    assert read.model_copy(update={"joiner": wanted.joiner}) == wanted
    assert read.joiner.model_copy(update={"flink_address": "f:1"}) == wanted.joiner
    volume = deployment["spec"]["podTemplate"]["spec"]["volumes"][0]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    mount = deployment["spec"]["podTemplate"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    assert deployment["spec"]["job"]["args"][-2:] == ["--settings", f"{mount}/job.json"]


def test_a_job_that_has_changed_is_another_deployment(films: Callable[..., list[dict[str, Any]]]) -> None:
    assert films() == films()
    assert films()[1] != films("seed=8")[1]


def test_state_outlives_the_pods_and_the_job_goes_on_from_a_savepoint(
    films: Callable[..., list[dict[str, Any]]],
) -> None:
    spec = films()[1]["spec"]
    configuration = spec["flinkConfiguration"]
    assert configuration["execution.checkpointing.dir"] == "s3://bucket/films/checkpoints"
    assert configuration["execution.checkpointing.savepoint-dir"] == "s3://bucket/films/savepoints"
    assert configuration["high-availability.type"] == "kubernetes"
    assert configuration["high-availability.storageDir"].startswith("s3://bucket/films/")
    assert configuration["s3.endpoint"] == "https://minio:9000"
    assert spec["job"]["upgradeMode"] == "savepoint"
    assert spec["job"]["initialSavepointPath"] == "s3://bucket/old/savepoint-1"
    assert spec["job"]["parallelism"] == 3


@pytest.mark.parametrize(
    ("url", "plugin"),
    [
        ("s3://b/x", "flink-s3-fs-hadoop"),
        ("s3p://b/x", "flink-s3-fs-presto"),
        ("gs://b/x", "flink-gs-fs-hadoop"),
        ("abfss://c@a/x", "flink-azure-fs-hadoop"),
        ("hdfs://nameservice/x", None),
    ],
)
def test_the_plugin_of_the_file_system_is_switched_on(
    films: Callable[..., list[dict[str, Any]]], url: str, plugin: str | None
) -> None:
    deployment = films(f"joiner.state_url={url}")[1]
    assert valid(deployment)
    env = deployment["spec"]["podTemplate"]["spec"]["containers"][0]["env"]
    told = [each["value"] for each in env if each["name"] == "ENABLE_BUILT_IN_PLUGINS"]
    assert told == ([f"{plugin}-{version('apache-flink')}.jar"] if plugin else [])


def test_files_of_a_backfill_have_their_plugin_too(films: Callable[..., list[dict[str, Any]]]) -> None:
    deployment = films("joiner.input={kind: files, features: 'gs://b/f', actions: 's3://b/a'}")[1]
    assert valid(deployment)
    assert deployment["metadata"]["name"] == "films-backfill"
    env = deployment["spec"]["podTemplate"]["spec"]["containers"][0]["env"]
    (told,) = (each["value"] for each in env if each["name"] == "ENABLE_BUILT_IN_PLUGINS")
    flink = version("apache-flink")
    assert told == f"flink-gs-fs-hadoop-{flink}.jar;flink-s3-fs-hadoop-{flink}.jar"


def test_nothing_of_one_machine_gets_into_the_configuration(
    films: Callable[..., list[dict[str, Any]]],
) -> None:
    configuration = films()[1]["spec"]["flinkConfiguration"]
    assert not [name for name, value in configuration.items() if "127.0.0.1" in value]
    assert not [name for name in configuration if name.endswith("memory.process.size")]
    assert configuration["state.backend.type"] == "rocksdb"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("kafka.bootstrap=embedded", "kafka.bootstrap: is embedded, a broker of one run on one machine"),
        (
            "joiner.input={kind: files, features: logs/f, actions: 's3://b/a'}",
            "joiner.input.features: is on a disk that pods don't have",
        ),
        ("kafka.bootstrap=localhost:9092", "kafka.bootstrap: is this machine"),
        ("kafka.bootstrap='k:1,127.0.0.1:2'", "kafka.bootstrap: is this machine"),
        ("joiner.state_url=null", "joiner.state_url: is missing: checkpoints and savepoints have to outlive"),
        ("joiner.state_url=file:///tmp/x", "joiner.state_url: is a disk of a pod"),
        ("kubernetes.image=null", "kubernetes.image: is missing"),
        ("name=7films", "name: is no name for a deployment"),
        (f"name={'a' * 60}", "name: is no name for a deployment"),
        ("kafka.client.ssl.key.password=hunter2", "kafka.client.ssl.key.password: is a secret and stands in"),
        ("kubernetes.task_manager.memory=lots", "kubernetes.task_manager.memory: must be"),
        ("joiner.parallelism=0", "joiner.parallelism: must be"),
    ],
)
def test_what_pods_can_not_run_is_refused_with_a_sentence(
    films: Callable[..., list[dict[str, Any]]], override: str, says: str
) -> None:
    with pytest.raises(JobFileError) as refused:
        films(override)
    (problem,) = refused.value.problems
    assert says in str(problem)
    assert "hunter2" not in str(problem)


def test_the_command_prints_documents_that_kubectl_reads(tmp_path: Path) -> None:
    file = tmp_path / "films.yaml"
    file.write_text(JOB)
    result = CliRunner().invoke(freshet, ["k8s", str(file)])
    assert result.exit_code == 0, result.output
    documents = list(yaml.safe_load_all(result.output))
    assert [each["kind"] for each in documents] == ["ConfigMap", "FlinkDeployment"]
    assert {each["metadata"]["namespace"] for each in documents} == {"recommender"}
    told = json.loads(CliRunner().invoke(freshet, ["k8s", str(file), "--json"]).output)
    assert (told["kind"], told["items"]) == ("List", documents)


def test_the_command_says_what_is_wrong_and_ends_with_two(tmp_path: Path) -> None:
    file = tmp_path / "films.yaml"
    file.write_text(JOB.replace("kafka.prod:9093", "embedded"))
    result = CliRunner().invoke(freshet, ["k8s", str(file)])
    assert result.exit_code == 2
    assert f"{file}:11:14: kafka.bootstrap: is embedded" in result.output
