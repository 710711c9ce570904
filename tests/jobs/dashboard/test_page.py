"""The page as people see it: a real browser, a real dashboard, a pretended job behind it."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.stack
Wait = Callable[..., None]
CHARTS = ("freshness", "auc", "rate", "lag", "join", "shards")


class Visit:
    """One open page, and everything it asked for or complained of."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def points(self, plot: str) -> int:
        return int(self.page.get_attribute(f'[data-plot="{plot}"]', "data-points") or 0)

    def colours(self, plot: str) -> int:
        """Of how many different colours the pixels of a plot are: an empty canvas has one."""
        return int(
            self.page.eval_on_selector(
                f'[data-plot="{plot}"] canvas',
                """c => { const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
                return new Set(new Uint32Array(data.buffer)).size; }""",
            )
        )

    def is_shown(self, selector: str) -> bool:
        return bool(self.page.is_visible(selector))


@pytest.fixture
def visit(chromium: Any, dashboard: Any) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def visit(width: int = 1400, height: int = 1000, scheme: str = "light") -> Visit:
        contexts.append(
            chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        )
        return Visit(contexts[-1].new_page(), dashboard.url)

    yield visit
    for context in contexts:
        context.close()


def test_all_charts_draw_and_values_follow_without_a_reload(
    pretended: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    seen = visit()

    def moves() -> bool:
        pretended.move(100)
        return all(seen.points(plot) >= 3 for plot in (*CHARTS[:-1], "rows", "memory", "lookup"))

    wait(moves, "all charts have points")
    assert [seen.page.locator(f"#chart-{name}").count() for name in CHARTS] == [1] * 6
    order = seen.page.eval_on_selector_all("#charts article", "all => all.map(one => one.id)")
    assert order == [f"chart-{name}" for name in CHARTS]
    assert all(seen.colours(plot) > 5 for plot in (*CHARTS[:-1], "rows"))
    assert "0.710" in seen.text("#big-quality")
    assert "+0.090" in seen.text("#big-quality")
    seen.page.evaluate("window.same = true")
    pretended.auc["served"] = 0.755
    pretended.last_minute["p99_ms"] = 3400.0
    wait(lambda: "0.755" in seen.text("#big-quality") and "3.4" in seen.text("#big-freshness"), "new values")
    assert seen.page.evaluate("window.same") is True
    assert not seen.errors


def test_nothing_is_asked_of_any_other_machine(
    dashboard: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    seen = visit()
    wait(lambda: seen.points("auc") >= 2, "points")
    seen.page.click("[data-log=ps-0]")
    assert {url.split("/")[2] for url in seen.requests} == {dashboard.address}
    assert any(url.endswith("/events") for url in seen.requests)
    blocked = "fetch('http://127.0.0.1:1/').then(() => 'asked', error => 'blocked')"
    assert seen.page.evaluate(blocked) == "blocked"


def test_a_reload_shows_the_past(visit: Callable[..., Visit], wait: Wait) -> None:
    seen = visit()
    wait(lambda: seen.points("auc") >= 5, "points")
    seen.page.reload()
    wait(lambda: seen.points("auc") >= 1, "points after the reload")
    assert seen.points("auc") >= 5


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


COLOUR = """name => { const probe = document.createElement("i"); probe.style.color = `var(--${name})`;
document.body.append(probe); const colour = getComputedStyle(probe).color; probe.remove(); return colour; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_stands_out_in_light_and_in_dark(visit: Callable[..., Visit], scheme: str) -> None:
    seen = visit(scheme=scheme)
    found = {
        name: seen.page.evaluate(COLOUR, name)
        for name in (
            *("page", "card", "bad-card", "ink", "quiet", "accent", "good", "bad"),
            *("blue", "orange", "green", "purple", "pink", "teal", "grey", "gold"),
        )
    }
    assert (luminance(found["page"]) > 0.5) == (scheme == "light")
    for name, colour in found.items():
        if name not in ("page", "card", "bad-card"):
            assert contrast(colour, found["card"]) >= 4.5, name
    assert contrast(found["ink"], found["bad-card"]) >= 4.5
    assert contrast(found["bad"], found["bad-card"]) >= 4.5
    assert contrast(found["quiet"], found["page"]) >= 4.5


def test_charts_change_their_colours_with_the_scheme(visit: Callable[..., Visit], wait: Wait) -> None:
    seen = visit(scheme="light")
    wait(lambda: seen.points("auc") >= 3, "points")
    picture = "document.querySelector('[data-plot=auc] canvas').toDataURL()"
    before = seen.page.evaluate(picture)
    seen.page.emulate_media(color_scheme="dark")
    wait(
        lambda: seen.page.eval_on_selector('[data-plot="auc"] canvas', "c => c.toDataURL()") != before,
        "repainted",
    )
    assert not seen.errors


@pytest.mark.parametrize("width", [320, 390, 768, 1920])
def test_no_width_needs_a_horizontal_scroll(
    pretended: Any, visit: Callable[..., Visit], wait: Wait, width: int
) -> None:
    pretended.write_roles(ps_1={"state": "failed", "error": "a" * 200})
    seen = visit(width=width, height=844)
    wait(lambda: seen.points("auc") >= 2 and seen.is_shown("#banner"), "points and banner")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert all(
        box["x"] >= 0 and box["x"] + box["width"] <= width
        for box in (card.bounding_box() for card in seen.page.locator("article").all())
    )


def test_a_part_that_dies_is_a_banner_with_its_remedy_until_it_is_back(
    pretended: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    seen = visit()
    wait(lambda: seen.text("#parts-count") == "7 of 7 ready", "all parts")
    assert not seen.is_shown("#banner")
    pretended.write_roles(ps_1={"state": "restarting", "restarts": 1, "error": "killed by signal 9"})
    wait(lambda: seen.is_shown("#banner"), "banner")
    assert "ps-1 went down (killed by signal 9)" in seen.text("#banner")
    assert "read logs/ps-1.log" in seen.text("#banner")
    assert "restarting" in seen.text('[data-part="ps-1"]')
    assert seen.page.title().startswith("⚠")
    pretended.write_roles()
    wait(lambda: not seen.is_shown("#banner"), "no banner")


def test_a_dashboard_that_is_gone_is_noticed_and_found_again(
    pretended: Any, dashboard: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    seen = visit()
    wait(lambda: seen.points("auc") >= 3, "points")
    dashboard.stop(signal.SIGKILL)
    wait(lambda: seen.is_shown("#banner"), "banner")
    assert "connection to the dashboard is lost" in seen.text("#banner")
    assert re.search(r"data is ([5-9]|\d\d)(\.\d)? s old", seen.text("#age"))
    before = seen.points("auc")
    pretended.auc["served"] = 0.7777
    pretended.write_roles()
    dashboard.start()
    wait(lambda: "0.778" in seen.text("#big-quality"), "new values")
    wait(lambda: not seen.is_shown("#banner"), "no banner")
    assert seen.points("auc") > before, "what was seen before is kept"


def test_the_end_of_a_log_and_the_job_file_open_with_a_click(
    pretended: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    (pretended.run_dir / "logs" / "ps-0.log").write_text("first line\n<script>window.hacked = 1</script>\n")
    seen = visit()
    wait(lambda: seen.is_shown("[data-log=ps-0]"), "parts")
    seen.page.click("[data-log=ps-0]")
    wait(lambda: "first line" in seen.text("#text"), "log")
    with (pretended.run_dir / "logs" / "ps-0.log").open("a") as log:
        log.write("second line\n")
    wait(lambda: "second line" in seen.text("#text"), "the log goes on")
    assert seen.page.evaluate("window.hacked") is None
    seen.page.keyboard.press("Escape")
    seen.page.click("#open-job")
    wait(lambda: "name: demo" in seen.text("#text"), "job file")
    assert not seen.errors


def test_before_the_first_numbers_the_page_says_what_it_waits_for(
    pretended: Any, dashboard: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    dashboard.stop()
    pretended.auc = {}
    pretended.last_minute = {"count": 0, "p50_ms": None, "p99_ms": None}
    dashboard.start()
    seen = visit()
    wait(lambda: seen.is_shown('[data-plot="auc"] .empty'), "empty chart")
    assert "Needs clicks" in seen.text('[data-plot="auc"] .empty')
    assert seen.text("#big-quality") == "–"
    assert not seen.errors


def test_of_a_label_that_is_a_number_the_page_shows_the_error(
    pretended: Any, dashboard: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    dashboard.stop()
    pretended.rmse = {"served": 12.5, "frozen": 31.0}
    dashboard.show(pretended.job_of_a_number)
    dashboard.start()
    seen = visit()
    wait(lambda: seen.points("rmse") >= 2, "points")
    assert seen.text("#title-quality").startswith("RMSE of ")
    assert seen.page.locator("#chart-auc").count() == 0
    assert "12.5" in seen.text("#big-quality")
    # Less is better.
    assert seen.page.get_attribute("#big-quality b", "data-lift") == "up"
    assert "−18.5" in seen.text("#big-quality")
    assert "RMSE 12.5" in seen.page.title()
    assert not seen.errors
    dashboard.stop()
    dashboard.show(pretended.job)


def test_the_joiner_shows_what_waits_and_what_became_of_everything(
    pretended: Any, visit: Callable[..., Visit], wait: Wait
) -> None:
    seen = visit()

    def figures() -> dict[str, str]:
        pairs = seen.page.eval_on_selector_all(
            "#joiner-figures div",
            "all => all.map(one => [one.dataset.figure, one.querySelector('dd').innerText])",
        )
        return dict(pairs)

    wait(lambda: figures().get("job") == "running", "the joiner's state")
    assert (figures()["waiting"], figures()["event time behind"], figures()["checkpoint"]) == ("–", "–", "–")
    assert figures()["late"] == "2"
    assert not {"corrected", "pool"} & set(figures())
    assert "does not tell" in seen.text('[data-plot="joiner-requests"]')
    now_ms = time.time() * 1000
    pretended.join = [
        {
            "freshet_joiner_waiting_requests": 1234,
            "freshet_joiner_waiting_bytes": 2 << 20,
            "freshet_joiner_pool_items": 77,
            "freshet_joiner_corrections": 5,
            "currentInputWatermark": now_ms - 3_600_000,
        }
    ]
    completed = {"latest_ack_timestamp": now_ms - 8000, "state_size": 3 << 20, "end_to_end_duration": 130}
    pretended.checkpoints = {"latest": {"completed": completed}}
    wait(lambda: figures()["waiting"] == "1,234 in 2.00 MiB", "what waits")
    told = figures()
    assert (told["pool"], told["corrected"], told["its size"], told["it took"]) == (
        "77",
        "5",
        "3.00 MiB",
        "0.1 s",
    )
    assert told["event time behind"].startswith("1 h 0 min")
    assert re.fullmatch(r"([89]|1[0-9]|20) s ago", told["checkpoint"])
    wait(lambda: seen.points("joiner-requests") >= 2, "the chart of what waits")
    assert seen.colours("joiner-requests") > 5
    assert seen.errors == []
