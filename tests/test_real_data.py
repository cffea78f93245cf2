"""A year of a real shop's orders through the whole pipeline, counted against pandas; skipped where the data is not."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS, Hand
from support.messages import Message, append
from support.sending import RecordingEsp, alone
from support.shop import at, time_of
from support.stack import PROJECT_DIR
from support.warehouse import PROFILE_VIEWS, Site, WarehouseProcess, open_site

from wakeline.activation.claims import idempotency_key
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.clock import to_iso
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.play import online_retail
from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

pytestmark = [pytest.mark.whole_stack, pytest.mark.timeout(900)]

#: The year in eight days, all of it processed at their end: the orders of the last of them are confirmed.
SPEED = 374 / 8
END_MS = NOW_MS + 8 * DAY_MS
APPENDED_AT_ONCE = 5_000
#: MJML takes milliseconds a mail: of thousands, one in so many is rendered for real.
RENDERED_ONE_IN = 50


class SamplingRenderer(Renderer):
    """Renders some mails; the others have no more than what the ESP needs to tell them apart."""

    rendered = 0

    def render(
        self, campaign: str, key: str, profile: Mapping[str, Any], context: Mapping[str, Any], *more: Any
    ) -> Mail:
        if int(key, 16) % RENDERED_ONE_IN == 0:
            self.rendered += 1
            return super().render(campaign, key, profile, context, *more)
        return Mail(key, campaign, str(profile["email"]), "", "", "", "", {})


@dataclass
class Replayed:
    """The shop's year, processed."""

    site: Site
    messages: list[Message]
    esp: RecordingEsp
    rendered: int


@pytest.fixture(scope="session")  # As the warehouse, which then is not started where the data is not.
def path() -> Path:
    found = shared_folder() / "data" / "online_retail.csv.gz"
    if not found.exists():
        pytest.skip(f"there is no {found.name} in the shared folder, which WAKELINE_SHARED names")
    return found


@pytest.fixture(scope="module")
def frame(path: Path) -> pd.DataFrame:
    """One row per order line, with what the importer makes of its invoice."""
    lines = pd.read_csv(path, dtype={"InvoiceNo": "str", "StockCode": "str"})
    lines["back"] = (lines["Quantity"] < 0) | (lines["UnitPrice"] < 0)
    whole_back = lines.groupby("InvoiceNo")["back"].transform("all")
    lines["cancelled"] = lines["InvoiceNo"].str.startswith("C") | whole_back
    lines["amount"] = lines["Quantity"] * lines["UnitPrice"]
    lines["profile"] = "anonymous:guest-" + lines["InvoiceNo"]
    known = lines["CustomerID"].notna()
    lines.loc[known, "profile"] = "user:" + lines.loc[known, "CustomerID"].astype(int).astype(str)
    return lines


@pytest.fixture(scope="module")
def replayed(path: Path, warehouse: WarehouseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    clock = Hand(END_MS)
    with SourceFile(path) as source, open_site(warehouse.settings, tmp_path_factory.mktemp("retail"), clock) as site:
        timed = list(online_retail.read(source))
        esp = RecordingEsp()
        messages = sped_up(timed, NOW_MS)
        rendered = process(site, messages, esp)
        yield Replayed(site, messages, esp, rendered)


def test_every_message_stands_in_landing_once(replayed: Replayed) -> None:
    posted = len(replayed.messages)
    assert replayed.site.statuses() == {"accepted": posted}
    assert replayed.site.counts()["landing"] == replayed.site.counts()["events"] == posted
    assert replayed.site.counts()["person_states"] == replayed.site.counts()["session_states"] == posted


def test_every_customer_and_every_guest_is_one_profile(replayed: Replayed, frame: pd.DataFrame) -> None:
    profiles = {profile for (profile,) in replayed.site.rows("SELECT profile_id FROM persons")}
    assert profiles == set(frame["profile"])
    assert sum(profile.startswith("user:") for profile in profiles) == frame["CustomerID"].nunique()


def test_orders_and_cancellations_of_every_profile_are_those_of_the_file(
    replayed: Replayed, frame: pd.DataFrame
) -> None:
    found = replayed.site.rows(
        "SELECT profile_id, countIf(completed_at > 0), countIf(cancelled_at > 0) FROM person_orders GROUP BY profile_id"
    )
    orders, cancellations = (
        frame[frame["cancelled"] == back].groupby("profile")["InvoiceNo"].nunique().to_dict() for back in (False, True)
    )
    assert {profile: (bought, back) for profile, bought, back in found} == {
        profile: (orders.get(profile, 0), cancellations.get(profile, 0)) for profile in set(frame["profile"])
    }


def test_what_every_profile_spent_is_what_the_file_says(replayed: Replayed, frame: pd.DataFrame) -> None:
    found = replayed.site.rows(
        "SELECT profile_id, sum(if(completed_at > 0, total, -total)), count() FROM person_orders GROUP BY profile_id"
    )
    spent = frame.groupby("profile")["amount"].sum().to_dict()
    # A total is rounded to pence, and the signs of lines within one invoice are not kept.
    mixed = set(frame[frame["back"] != frame["cancelled"]]["profile"])
    assert len(mixed) < len(spent) / 100
    for profile, total, count in found:
        if profile not in mixed:
            assert total == pytest.approx(spent[profile], abs=0.006 * count), profile


def test_pieces_bought_of_every_article_are_those_of_the_file(replayed: Replayed, frame: pd.DataFrame) -> None:
    found = replayed.site.rows("SELECT product_id, sum(purchased_quantity) FROM person_products GROUP BY product_id")
    bought = frame[~frame["cancelled"]].assign(Quantity=lambda lines: lines["Quantity"].abs())
    expected = bought.groupby("StockCode")["Quantity"].sum().astype(int).to_dict()
    assert {product: pieces for product, pieces in found if pieces} == {
        product: pieces for product, pieces in expected.items() if pieces
    }


def test_every_order_of_the_last_day_is_confirmed_once_if_the_customer_has_an_address(
    replayed: Replayed, frame: pd.DataFrame
) -> None:
    times = pd.to_datetime(frame.groupby("InvoiceNo")["InvoiceDate"].transform("min"))
    in_time = NOW_MS + (times - times.min()).dt.total_seconds() * 1_000 / SPEED > END_MS - DAY_MS
    ordered = frame[~frame["cancelled"] & in_time][["profile", "InvoiceNo"]].drop_duplicates()
    expected = {
        ("order_confirmation", profile, f"order/{invoice}"): (
            "sent" if profile.startswith("user:") else "skipped:no_address"
        )
        for profile, invoice in ordered.itertuples(index=False)
    }
    assert replayed.site.sends() == expected
    sent = sorted(idempotency_key(*parts) for parts, state in expected.items() if state == "sent")
    assert sorted(replayed.esp.keys) == sent
    assert replayed.rendered > 50


def test_the_year_played_a_second_time_changes_no_profile_and_sends_nothing(replayed: Replayed) -> None:
    site, sent = replayed.site, len(replayed.esp.requests)
    before = checksums(site)
    site.clock.now_ms += HOUR_MS
    again = [{**message, "timestamp": to_iso(time_of(message) + HOUR_MS)} for message in replayed.messages]
    process(site, again, replayed.esp)
    assert site.statuses() == {"accepted": len(replayed.messages), "duplicate": len(replayed.messages)}
    assert checksums(site) == before
    assert len(replayed.esp.requests) == sent


def shared_folder() -> Path:
    return Path(os.environ.get("WAKELINE_SHARED", PROJECT_DIR.parent / "shared"))


def sped_up(timed: list[TimedMessage], start_ms: int) -> list[Message]:
    first_ms = timed[0].at_ms
    return [at(TimedMessage(round((one.at_ms - first_ms) / SPEED), one.message), start_ms) for one in timed]


def process(site: Site, messages: list[Message], esp: RecordingEsp) -> int:
    """Append and process everything; how many mails were rendered for real."""
    with site.micro_batches(esp) as batches:
        renderer = sampling_renderer(site, batches)
        batches.mailer = Mailer(renderer, alone(esp), threads=2, clock=site.clock)
        remaining = iter(messages)
        while chunk := list(islice(remaining, APPENDED_AT_ONCE)):
            append(batches.stream, chunk, site.clock())
        site.work(batches)
        batches.mailer.close()
    return renderer.rendered


def sampling_renderer(site: Site, batches: MicroBatches) -> SamplingRenderer:
    activation = site.settings.activation
    return SamplingRenderer(batches.campaigns, activation.sender, activation.public_url, lambda key, *_: key, ())


def checksums(site: Site) -> dict[str, tuple[Any, ...]]:
    """Rows and checksum of every merged view, whatever the order of its rows."""
    return {view: site.rows(f"SELECT count(), sum(cityHash64(*)) FROM {view}")[0] for view in PROFILE_VIEWS}  # noqa: S608
