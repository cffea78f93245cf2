from io import StringIO

import pytest
from rich.console import Console

from wakeline.play.player import Standing
from wakeline.play.progress import Extent, reporting

EXTENT = Extent(200, lambda standing: standing.at_ms)


def test_without_a_terminal_there_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now_ms = 0
    with reporting(EXTENT, lambda: now_ms, Console(file=StringIO())) as report:
        for posted in range(0, 2500, 100):
            now_ms = posted * 10
            report(Standing(posted=posted, at_ms=posted // 10))
    assert capsys.readouterr().err.splitlines() == [
        "1,000 messages posted, 50 %",
        "2,000 messages posted, 100 %",
    ]


def test_on_a_terminal_there_is_a_bar() -> None:
    screen = StringIO()
    with reporting(EXTENT, lambda: 0, Console(file=screen, force_terminal=True, width=80)) as report:
        report(Standing(posted=1234, at_ms=100))
    assert "50%" in screen.getvalue()
    assert "1,234 messages" in screen.getvalue()


@pytest.mark.parametrize(("total", "done", "percent"), [(0, 0, 0), (200, 199, 99), (200, 300, 100)])
def test_percent_is_rounded_down_and_never_beyond_100(total: int, done: int, percent: int) -> None:
    assert Extent(total, lambda standing: standing.at_ms).percent(Standing(at_ms=done)) == percent
