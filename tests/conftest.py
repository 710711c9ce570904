"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# How fast a shared machine happens to be is no property of the code.
settings.register_profile("freshet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("freshet")

# Flink and Kafka live for seconds here: thorough compilation would take a quarter of all processor time.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
