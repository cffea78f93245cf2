from pathlib import Path

import pytest

from wakeline.errors import WakelineError
from wakeline.play import retailrocket
from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
ROWS = "1433224214164,992329,view,248676,\n1433221332117,257597,addtocart,355908,\n"


def play(tmp_path: Path, rows: str) -> list[TimedMessage]:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    with SourceFile(path) as source:
        return list(retailrocket.read(source))


def test_rows_are_brought_into_time_order(tmp_path: Path) -> None:
    messages = play(tmp_path, ROWS)
    assert [(timed.at_ms, timed.message.get("event")) for timed in messages] == [
        (1433221332117, None),
        (1433221332117, "Product Added"),
        (1433224214164, None),
        (1433224214164, "Product Viewed"),
    ]
    assert messages[0].message["traits"] == {"email": "retailrocket-257597@example.com"}
    assert messages[1].message["properties"]["name"] == "Article 355908"


def test_rows_of_a_transaction_are_one_order(tmp_path: Path) -> None:
    messages = play(
        tmp_path,
        "1000,5,transaction,11,77\n1000,6,transaction,13,78\n1200,5,view,12,\n1400,5,transaction,12,77\n",
    )
    orders = {
        timed.message["properties"]["order_id"]: [
            line["product_id"] for line in timed.message["properties"]["products"]
        ]
        for timed in messages
        if timed.message.get("event") == "Order Completed"
    }
    assert orders == {"retailrocket-77": ["11", "12"], "retailrocket-78": ["13"]}
    assert [timed.at_ms for timed in messages] == sorted(timed.at_ms for timed in messages)


def test_the_position_counts_rows_given_not_rows_sorted(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + "".join(f"{hour * 3600000},5,view,1,\n" for hour in range(100)), encoding="utf-8")
    with SourceFile(path) as source:
        messages = retailrocket.read(source)
        next(messages)
        early = source.position_bytes()
        list(messages)
        assert early < source.size_bytes // 10
        assert source.position_bytes() == source.size_bytes


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("soon,5,view,1,\n", "line 4: invalid literal"),
        ("1000,5,wish,1,\n", "line 4: unknown event 'wish'"),
        ("1000,5,transaction,1,\n", "line 4: a transaction needs a transactionid"),
        ("1000,5,view,1,7\n", "line 4: a transaction needs a transactionid"),
        ("1000,5,view,1\n", "line 4: 4 fields instead of 5"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(WakelineError, match=sentence):
        play(tmp_path, ROWS + row)
