from pathlib import Path

import pytest

from wakeline.errors import WakelineError
from wakeline.play import rees46
from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
VIEW = "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,s-1\n"


def play(tmp_path: Path, rows: str) -> list[TimedMessage]:
    path = tmp_path / "2019-Oct.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    with SourceFile(path) as source:
        return list(rees46.read(source))


def test_a_view_keeps_what_the_row_knows(tmp_path: Path) -> None:
    introduction, view = play(tmp_path, VIEW)
    assert introduction.message["traits"] == {"email": "rees46-541312140@example.com"}
    assert view.at_ms == 1_569_888_000_000
    assert view.message["event"] == "Product Viewed"
    assert view.message["context"]["sessionId"] == "s-1"
    assert view.message["properties"] == {
        "product_id": "44600062",
        "name": "Article 44600062",
        "category": "2103807459595387724",
        "brand": "shiseido",
        "price": 35.79,
        "quantity": 1,
        "url": "https://shop.example.com/products/44600062",
    }


def test_a_category_with_a_code_goes_by_it(tmp_path: Path) -> None:
    row = "2019-10-01 00:00:00 UTC,cart,1,20,appliances.kettle,,10.00,5,s-1\n"
    properties = play(tmp_path, row)[1].message["properties"]
    assert properties["category"] == "appliances.kettle"
    assert "brand" not in properties


def test_every_kind_of_row_becomes_its_event(tmp_path: Path) -> None:
    rows = "".join(
        f"2019-10-01 00:00:0{second} UTC,{kind},1,2,,,1.00,5,s-1\n"
        for second, kind in enumerate(["view", "cart", "remove_from_cart", "purchase"])
    )
    events = [timed.message["event"] for timed in play(tmp_path, rows)[1:]]
    assert events == ["Product Viewed", "Product Added", "Product Removed", "Order Completed"]


def test_purchases_of_a_session_in_one_second_are_one_order(tmp_path: Path) -> None:
    messages = play(
        tmp_path,
        "2019-10-01 00:00:01 UTC,purchase,1,2,,,1.10,5,s-1\n"
        "2019-10-01 00:00:01 UTC,view,9,2,,,1.00,6,s-2\n"
        "2019-10-01 00:00:01 UTC,purchase,2,2,,,2.20,5,s-1\n"
        "2019-10-01 00:00:02 UTC,purchase,3,2,,,3.00,5,s-1\n",
    )
    orders = [timed.message["properties"] for timed in messages if timed.message.get("event") == "Order Completed"]
    assert [order["total"] for order in orders] == [3.3, 3.0]
    assert [len(order["products"]) for order in orders] == [2, 1]
    assert orders[0]["order_id"] != orders[1]["order_id"]


def test_a_row_without_session_gets_one_by_silence(tmp_path: Path) -> None:
    messages = play(tmp_path, VIEW.replace("s-1", ""))
    assert messages[1].message["context"]["sessionId"] == "rees46-541312140-1569888000000"


def test_a_user_is_introduced_again_only_after_half_an_hour(tmp_path: Path) -> None:
    messages = play(tmp_path, VIEW + VIEW.replace("00:00:00", "00:20:00") + VIEW.replace("00:00:00", "01:00:00"))
    assert [timed.message["type"] for timed in messages] == ["identify", "track", "track", "identify", "track"]


def test_equal_rows_stay_two_messages_and_have_the_same_ids_at_every_reading(tmp_path: Path) -> None:
    messages = play(tmp_path, VIEW + VIEW)
    assert len({timed.message["messageId"] for timed in messages}) == 3
    assert play(tmp_path, VIEW + VIEW) == messages


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (VIEW.replace(" UTC", ""), "line 3: time data"),
        (VIEW.replace("view", "wish"), "line 3: unknown event_type 'wish'"),
        (VIEW.replace("35.79", "much"), "line 3: could not convert"),
        (VIEW.replace("2019", "2018"), "line 3: earlier than the line before"),
        ('"' + VIEW, "line 3: "),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(WakelineError, match=sentence):
        play(tmp_path, VIEW + row)
