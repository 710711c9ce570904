"""What a job file means: mistakes that types alone do not show, each at its path and in words."""

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Final, Literal

from jobs.document import KeyPath, dotted
from jobs.secrets import is_secret
from jobs.spec import Job
from jobs.validation.bounded import PLACE, input_findings
from jobs.validation.limits import limit_findings
from jobs.validation.optimizers import dense_optimizer_findings, optimizer_findings
from jobs.validation.shape import Finding, enumerated, nearest, sources_without
from model.settings import MAX_LABEL
from pipelines.join.expressions import Expression, ExpressionError
from pipelines.schema import RESERVED_NAMES, RESERVED_PREFIXES, FeatureSettings, LabelSettings
from ps.settings import TableSettings

SIMULATED_KEYS: Final = {
    "user": ("user_id", "country", "age"),
    "context": ("hour", "device"),
    "item": ("item_id", "category", "price"),
}
"""What simulated traffic puts into a request."""
ACTIONS: Final = {
    "simulated": ("click", "like"),
    "replay": (
        *("click", "long_view", "like", "follow", "comment", "forward", "hate", "profile_enter"),
        "rating",
    ),
}
"""The actions that each kind of traffic makes."""

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_PLACES_OF_STATE: Final = ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir")
_MAX_DRAWN_BYTES: Final = 64 << 20
"""What drawn negatives may come to for one positive."""
_FEATURES: Final = ("schema", "features")


def check(job: Job) -> list[Finding]:
    """Every mistake in a job whose types are right."""
    checks = (
        *(_names, _features, _crosses, _labels, _rules, _tables),
        *(_optimizers, _model, _kafka, _addresses, _counts, _joiner, _archive, _schedule, _traffic),
    )
    return list(chain.from_iterable(each(job) for each in checks))


def _names(job: Job) -> Iterator[Finding]:
    schema = job.schema_
    for block in ("features", "labels"):
        path: KeyPath = ("schema", block)
        if not getattr(schema, block):
            yield Finding(path, f"has to name at least one of the {block}", uses=(path,))
    for name in schema.features:
        yield from _name((*_FEATURES, name), name)
    for name in schema.crosses:
        path = ("schema", "crosses", name)
        yield from _name(path, name)
        if name in schema.features:
            yield Finding(path, "is the name of a feature as well: name it differently", is_key=True)
    for name in schema.labels:
        if not name or "@" in name:
            message = "is no name for a label: `LABEL@NAME` names a score that is compared with it"
            yield Finding(("schema", "labels", name), message, is_key=True)


def _name(path: KeyPath, name: str) -> Iterator[Finding]:
    # Every example has the item's id anyway; a feature of this name reads it.
    if name in RESERVED_NAMES and path != (*_FEATURES, "item_id"):
        message = f"is reserved, as {', '.join(sorted(RESERVED_NAMES))} are: name it differently"
        yield Finding(path, message, is_key=True)
    if not name or name.startswith(RESERVED_PREFIXES):
        yield Finding(
            path,
            f"is no name for a feature: {', '.join(RESERVED_PREFIXES)} and an empty name are Freshet's own",
            is_key=True,
        )


def _features(job: Job) -> Iterator[Finding]:
    for name, feature in job.schema_.features.items():
        path = (*_FEATURES, name)
        yield from _boundaries(path, feature)
        if not feature.is_categorical and feature.table is not None:
            uses = ((*path, "type"), (*path, "boundaries"))
            message = "is not used: a float without `boundaries` is a number and has no rows"
            yield Finding((*path, "table"), message, uses=uses)
    item_id = job.schema_.features.get("item_id")
    if item_id and (item_id.source != "item.item_id" or item_id.type == "float" or item_id.many):
        message = "is reserved for the item's id: `{from: item.item_id}`, of type int or string"
        path = (*_FEATURES, "item_id")
        yield Finding(path, message, uses=((*path, "from"), (*path, "type")), is_key=True)


def _boundaries(path: KeyPath, feature: FeatureSettings) -> Iterator[Finding]:
    where = (*path, "boundaries")
    if feature.boundaries and feature.type != "float":
        message = f"are for features of type float; this one is {feature.type}"
        yield Finding(where, message, uses=(where, (*path, "type")))
    for i, (left, right) in enumerate(pairwise(feature.boundaries)):
        if not left < right:
            yield Finding(
                (*where, i + 1),
                f"must be above {left:g}, the one before it: boundaries ascend",
                uses=(where,),
            )


def _crosses(job: Job) -> Iterator[Finding]:
    features = job.schema_.features
    categorical = [name for name, feature in features.items() if feature.is_categorical]
    for cross, settings in job.schema_.crosses.items():
        where = ("schema", "crosses", cross, "of")
        for i, part in enumerate(settings.of):
            path = (*where, i)
            if part not in features:
                message = f"is not a feature; a cross is made of {enumerated(categorical)}"
                yield Finding(path, message, nearest(part, categorical), (where, _FEATURES))
            elif part not in categorical:
                message = (
                    f"is a number, and a cross needs categories: give `schema.features.{part}` boundaries"
                )
                uses = (where, (*_FEATURES, part, "type"), (*_FEATURES, part, "boundaries"))
                yield Finding(path, message, uses=uses)
            elif part in settings.of[:i]:
                yield Finding(path, "stands in this cross twice", uses=(where,))


def _labels(job: Job) -> Iterator[Finding]:
    known = ACTIONS.get(job.traffic.kind)
    for name, label in job.schema_.labels.items():
        path = ("schema", "labels", name, "action")
        if not all(label.actions):
            yield Finding(
                path, "must not be empty: an action without a name only moves time on", uses=(path,)
            )
        for action in filter(None, label.actions):
            if known and action not in known:
                message = f"never happens: {job.traffic.kind} traffic has the actions {', '.join(known)}"
                yield Finding(path, message, nearest(action, known), (path, ("traffic", "kind")))


def _rules(job: Job) -> Iterator[Finding]:
    for name, label in job.schema_.labels.items():
        path = ("schema", "labels", name)
        if label.kind == "binary":
            yield from _of_numbers(path, label)
        else:
            yield from _number(path, label)
        yield from _expression((*path, "when"), label.when, "boolean")
        yield from _expression((*path, "value"), label.value, "number")


def _of_numbers(path: KeyPath, label: LabelSettings) -> Iterator[Finding]:
    for key in ("value", "take", "otherwise"):
        if getattr(label, key) != LabelSettings.model_fields[key].default:
            message = "is for labels of `kind: number`; this one is binary, 1 or 0"
            yield Finding((*path, key), message, uses=((*path, "kind"), (*path, key)), is_key=True)


def _number(path: KeyPath, label: LabelSettings) -> Iterator[Finding]:
    if label.take != "first" and label.late_s:
        message = f"is for `take: first`: {label.take} is known when the window ends, and leaves then"
        yield Finding((*path, "late_s"), message, uses=((*path, "take"),), is_key=True)
    if label.otherwise is not None and abs(label.otherwise) > MAX_LABEL:
        message = f"must be within ±{MAX_LABEL:g}: the trainer learns nothing from labels beyond that"
        yield Finding((*path, "otherwise"), message)


def _expression(path: KeyPath, text: str | None, kind: Literal["boolean", "number"]) -> Iterator[Finding]:
    if text is None:
        return
    try:
        Expression(text, kind)
    except ExpressionError as error:
        yield Finding(path, f"must be a CEL expression whose result is a {kind}: {error}", uses=(path,))


def _tables(job: Job) -> Iterator[Finding]:
    schema = job.schema_
    used = {feature.table or name for name, feature in schema.features.items() if feature.is_categorical}
    used |= {cross.table or name for name, cross in schema.crosses.items()}
    for name in schema.tables:
        if name not in used:
            message = f"is a table that no feature uses; they use {enumerated(sorted(used))}"
            uses = (_FEATURES, ("schema", "crosses"))
            yield Finding(("schema", "tables", name), message, nearest(name, used), uses, is_key=True)


def _optimizers(job: Job) -> Iterator[Finding]:
    schema = job.schema_
    tables: dict[KeyPath, TableSettings] = {("schema", "default_table"): schema.default_table}
    tables |= {("schema", "tables", name): table for name, table in schema.tables.items()}
    for path, table in tables.items():
        yield from optimizer_findings((*path, "optimizer"), table.optimizer)
        yield from limit_findings(path, table, job.ps.shards)
        initializer = table.initializer
        if initializer.scale < 0 and initializer.kind != "constant":
            where = (*path, "initializer", "scale")
            yield Finding(
                where, f"must be at least 0 for kind {initializer.kind}", uses=((*path, "initializer"),)
            )
    yield from dense_optimizer_findings(("model", "optimizer"), job.model.optimizer)


def _model(job: Job) -> Iterator[Finding]:
    for i, size in enumerate(job.model.hidden):
        if size < 1:
            yield Finding(("model", "hidden", i), "must be at least 1: it is the number of a layer's outputs")


def _kafka(job: Job) -> Iterator[Finding]:
    kafka, path = job.kafka, ("kafka", "bootstrap")
    if kafka.bootstrap != "embedded":
        for address in kafka.bootstrap.split(","):
            if not _is_address(address.strip()):
                meant = nearest(kafka.bootstrap, ("embedded",))
                yield Finding(
                    path, "must be host:port[,host:port…], or embedded for a broker of the run's own", meant
                )
                break
    topics = kafka.topics.model_dump()
    for name, topic in topics.items():
        where = ("kafka", "topics", name)
        if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            yield Finding(
                where,
                "is no name of a Kafka topic: at most 249 letters, digits, dots, hyphens or underscores",
            )
        elif (first := next(other for other in topics if topics[other] == topic)) != name:
            yield Finding(where, f"is the topic of kafka.topics.{first} already")
    if "bootstrap.servers" in kafka.client:
        yield Finding(
            ("kafka", "client", "bootstrap.servers"), "is not set here: set kafka.bootstrap", is_key=True
        )


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 65536


def _listening(job: Job) -> Iterator[tuple[KeyPath, str]]:
    """Every address where a part listens, and its path."""
    lists = {
        ("ps", "addresses"): job.ps.addresses,
        ("ps", "metrics_addresses"): job.ps.metrics_addresses,
        ("trainer", "metrics_addresses"): job.trainer.metrics_addresses,
        ("serving", "addresses"): job.serving.addresses,
        ("joiner", "metrics_addresses"): job.joiner.metrics_addresses,
    }
    for path, addresses in lists.items():
        yield from (((*path, i), address) for i, address in enumerate(addresses))
    for path, address in (
        (("joiner", "flink_address"), job.joiner.flink_address),
        (("traffic", "metrics_address"), job.traffic.metrics_address),
        (("dashboard", "address"), job.dashboard.address),
    ):
        if address is not None:
            yield path, address


def _addresses(job: Job) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, address in _listening(job):
        if not _is_address(address):
            yield Finding(
                path, "must be host:port with a port from 1 to 65535, such as 127.0.0.1:4000", uses=(path,)
            )
        elif first.setdefault(address, path) != path:
            yield Finding(path, f"is the address of {dotted(first[address])} already", uses=(path,))


def _counts(job: Job) -> Iterator[Finding]:
    for path, addresses, counted, count in (
        (("ps", "addresses"), job.ps.addresses, "shards", job.ps.shards),
        (("ps", "metrics_addresses"), job.ps.metrics_addresses, "shards", job.ps.shards),
        (("trainer", "metrics_addresses"), job.trainer.metrics_addresses, "workers", job.trainer.workers),
        (("serving", "addresses"), job.serving.addresses, "replicas", job.serving.replicas),
    ):
        if addresses and len(addresses) != count:
            where = (path[0], counted)
            message = (
                f"has {len(addresses)}, but {dotted(where)} is {count}: give each one, or none (free ports)"
            )
            yield Finding(path, message, uses=(path, where))


def _joiner(job: Job) -> Iterator[Finding]:
    joiner = job.joiner
    if joiner.flink_address is None and joiner.parallelism > joiner.task_managers:
        uses = (("joiner", "parallelism"), ("joiner", "task_managers"), ("joiner", "flink_address"))
        message = (
            f"must be at most joiner.task_managers, which is {joiner.task_managers}: "
            "each TaskManager of the embedded cluster runs one subtask"
        )
        yield Finding(uses[0], message, uses=uses)
    for name in filter(is_secret, joiner.flink_options):
        message = (
            "is a secret, and would stand on command lines: Flink's plugins read theirs from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)"
        )
        yield Finding(("joiner", "flink_options", name), message, is_key=True)
    if joiner.flink_address is None:
        for name in filter(joiner.flink_options.__contains__, _PLACES_OF_STATE):
            message = (
                "is for joiner.state_url to say: below it each run has a place of its own, to go on from"
            )
            yield Finding(("joiner", "flink_options", name), message, is_key=True)
    yield from input_findings(job)
    yield from _pool(job)


def _pool(job: Job) -> Iterator[Finding]:
    pool, path, labels = job.joiner.pool, ("joiner", "pool"), job.schema_.labels
    if pool is None:
        return
    if job.joiner.engine == "python":
        message = "is kept by engine jvm only: set joiner.engine to jvm, or leave the pool out"
        yield Finding(path, message, uses=(("joiner", "engine"),), is_key=True)
    if pool.negatives * job.joiner.max_event_bytes > _MAX_DRAWN_BYTES:
        # Each draw repeats the user and the context of its request, all in memory together.
        most = _MAX_DRAWN_BYTES // job.joiner.max_event_bytes
        message = (
            f"must be at most {most} with events of joiner.max_event_bytes, {job.joiner.max_event_bytes}"
        )
        uses = ((*path, "negatives"), ("joiner", "max_event_bytes"))
        yield Finding(uses[0], message, uses=uses)
    if pool.label is not None and pool.label not in labels:
        where = (*path, "label")
        message = f"is not a label; there is {enumerated(labels)}"
        yield Finding(where, message, nearest(pool.label, labels), (where, ("schema", "labels")))


def _archive(job: Job) -> Iterator[Finding]:
    archive, path = job.joiner.archive, ("joiner", "archive", "path")
    if archive is not None:
        if archive.path is None and job.joiner.flink_address is not None:
            message = (
                "has to be named for a Flink cluster of your own: a place that all of its machines reach"
            )
            yield Finding(path, message, uses=(path, ("joiner", "flink_address")))
        yield from _place(path, archive.path)
    read = job.trainer.archive
    if read is not None and read.startswith(("s3a://", "s3p://")):
        message = "must be s3://…: only Flink has a name of its own for each of its plugins"
        yield Finding(("trainer", "archive"), message, "s3://" + read.partition("://")[2])
    yield from _place(("trainer", "archive"), read)


def _place(path: KeyPath, place: str | None) -> Iterator[Finding]:
    if place is not None and not PLACE.fullmatch(place):
        message = "must be a folder, or a URL such as s3://bucket/folder or file:///folder"
        yield Finding(path, message, uses=(path,))


def _schedule(job: Job) -> Iterator[Finding]:
    from croniter import croniter

    if not croniter.is_valid(job.sync.dense_cron):
        message = (
            "must be a cron expression: minute hour day month weekday, such as `0 3 * * *` for three at night"
        )
        yield Finding(("sync", "dense_cron"), message)


def _traffic(job: Job) -> Iterator[Finding]:
    traffic = job.traffic
    uses: tuple[KeyPath, ...] = (("traffic", "kind"), ("traffic", "path"))
    if traffic.path is not None and traffic.kind != "replay":
        message = (
            f"is not used: traffic.kind is {traffic.kind}; set traffic.kind to replay, or leave the path out"
        )
        yield Finding(uses[1], message, uses=uses)
    if traffic.kind == "simulated":
        yield from sources_without(job, SIMULATED_KEYS, "simulated traffic has")
        if traffic.candidates > traffic.items:
            message = f"must be at most traffic.items, which is {traffic.items}"
            yield Finding(("traffic", "candidates"), message, uses=(("traffic", "items"),))
