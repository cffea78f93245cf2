import pytest

from wakeline.retry_after import retry_after_seconds


@pytest.mark.parametrize(
    ("value", "pause_seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("Tue, 14 Nov 2000 22:13:50 GMT", 0),
        ("soon", None),
        ("-7", None),
        ("7.5", None),
        ("\u0667", None),
        ("9" * 400, None),
        ("Tue, 14 Nov 99999 22:13:50 GMT", None),
        ("", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_until_a_date(value: str, pause_seconds: float | None) -> None:
    assert retry_after_seconds(value, 1_700_000_000_000) == pause_seconds
