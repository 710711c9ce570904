"""Where Flink keeps its state: which plugin of Flink a URL needs, and whether the embedded cluster has it."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Final

from jobs.errors import JobError
from jobs.stack.layout import JARS

PLUGINS: Final = JARS / "plugins"
"""A folder for each plugin that the wheel does not carry and somebody has put there."""
_PLUGIN_OF: Final = {
    "s3": "flink-s3-fs-hadoop",
    "s3a": "flink-s3-fs-hadoop",
    "s3p": "flink-s3-fs-presto",
    "gs": "flink-gs-fs-hadoop",
    "abfs": "flink-azure-fs-hadoop",
    "abfss": "flink-azure-fs-hadoop",
    "wasb": "flink-azure-fs-hadoop",
    "wasbs": "flink-azure-fs-hadoop",
    "oss": "flink-oss-fs-hadoop",
}


def plugin_of(url: str) -> str | None:
    """The artifact of `org.apache.flink` that has the file system of `url`; None: Flink itself, or Hadoop."""
    return _PLUGIN_OF.get(_scheme(url))


def check_file_system(key: str, url: str) -> None:
    """Raise JobError when the embedded cluster does not know the file system of `url`, the value of `key`."""
    plugin = plugin_of(url)
    if plugin is not None and not any((PLUGINS / plugin).glob("*.jar")):
        artifact = f"org.apache.flink:{plugin}:{version('apache-flink')}"
        raise JobError(
            f"{key}: {url} needs a plugin of Flink: mvn dependency:copy -Dartifact={artifact} "
            f"-DoutputDirectory={PLUGINS / plugin}"
        )
    if _scheme(url) == "hdfs" and not os.environ.get("HADOOP_CLASSPATH"):
        raise JobError(
            f'{key}: {url} needs Hadoop: export HADOOP_CLASSPATH="$(hadoop classpath)", and '
            "HADOOP_CONF_DIR where its configuration is elsewhere."
        )


def link_plugins(folder: Path, home: Path) -> None:
    """Lay out in `folder` links to the plugins of the wheel at `home` and to those beside the jars."""
    folder.mkdir(exist_ok=True)
    for plugin in (*home.glob("plugins/*/"), *PLUGINS.glob("*/")):
        link = folder / plugin.name
        link.unlink(missing_ok=True)
        link.symlink_to(plugin)


def _scheme(url: str) -> str:
    return url.partition(":")[0]
