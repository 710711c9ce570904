"""What of a job file the stack fills in."""

from jobs.load import load_job
from jobs.stack.addresses import resolve
from jobs.stack.layout import PROJECT

DEMO = PROJECT / "jobs" / "demo.yaml"


def test_transactions_of_the_embedded_broker_outlast_weeks_and_elsewhere_are_as_the_file_says() -> None:
    assert resolve(load_job(DEMO)).kafka.transaction_timeout_s == 24 * 86_400
    own = load_job(DEMO, ["kafka.bootstrap=127.0.0.1:9"])
    assert resolve(own).kafka.transaction_timeout_s == 900
