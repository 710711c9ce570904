"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How fast a shared machine happens to be is no property of the code.
settings.register_profile("freshet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("freshet")
