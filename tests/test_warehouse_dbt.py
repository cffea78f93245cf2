import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from threading import Event

import pytest
from support.clocks import MINUTE_MS, NOW_MS
from support.messages import Message, append, track
from support.sending import RecordingEsp
from support.shop import accepted, shopping
from support.stack import PROJECT_DIR
from support.warehouse import CHAIN, Site, WarehouseProcess, drained, no_warnings

from wakeline.clock import to_datetime
from wakeline.errors import ConfigError, WarehouseError
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.triggers import LiveModels
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.warehouse.landing import Landing

pytestmark = pytest.mark.stack

TRIGGER = "models/triggers/late_birds.sql"
TRIGGERS = ["abandoned_cart", "category_dwell", "confirm_opt_in", "order_confirmation"]

#: What an analyst may get wrong, and a word of what is said about it.
MISTAKES = {
    "a brace is missing": ("select * from {{ ref('persons') }", "late_birds"),
    "the model it reads is not there": ("select * from {{ ref('people') }}", "people"),
    "the macro it uses is not there": ("select 1 where {{ in_time() }}", "in_time"),
    "the column is not there": ("select favourite_colour from {{ ref('persons') }}", "favourite_colour"),
    "the SQL is none": ("selekt everything", "Syntax error"),
    "the contract is broken": ("{{ config(tags=['live']) }} select '' as profile_id", "occurrence_key"),
}

WRITTEN_BY_THE_PIPELINE = ("landing", "sends", "quarantine_replays")


def run_deploy(settings: Settings) -> LiveModels:
    with no_warnings():
        from wakeline.warehouse.deploy import deploy

        return deploy(settings, lambda step: None)


@pytest.fixture(scope="module")
def copied(warehouse: WarehouseProcess, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The dbt project as a copy that may be broken, deployed to a database of its own; no source is named there."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(PROJECT_DIR / "dbt_project", folder / "dbt_project")
    settings = warehouse.settings
    database = settings.warehouse.model_copy(update={"database": "copied"})
    places = {"project_dir": folder, "data_dir": folder / "data", "warehouse": database}
    return settings.model_copy(update={**places, "sources": {}})


def test_every_table_of_the_chain_remembers_as_many_batches_as_may_be_done_again(site: Site) -> None:
    for table in CHAIN:
        [(created,)] = site.rows(f"SHOW CREATE TABLE {table}")
        assert re.search(r"[^_]non_replicated_deduplication_window = 10000\b", created), created
        assert re.search(r"\breplicated_deduplication_window = 10000\b", created), created


def test_every_table_behind_landing_is_filled_by_a_view_and_none_is_missing_here(site: Site) -> None:
    views = site.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
    )
    behind_sends = {"send_latencies", "campaign_activity"}
    assert {name.removesuffix("_mv") for (name,) in views} == (set(CHAIN) - {"landing"}) | behind_sends


def test_a_second_deployment_keeps_every_row_and_the_views_go_on(warehouse: WarehouseProcess, site: Site) -> None:
    messages = shopping(seed=1, people=4, minutes=30, start_ms=NOW_MS - 30 * MINUTE_MS)
    first, second = messages[: len(messages) // 2], messages[len(messages) // 2 :]
    results = site.play(first, RecordingEsp())
    counts, profiles = site.counts(), site.profiles()
    live = run_deploy(warehouse.settings)
    assert [trigger.name for trigger in live.triggers] == TRIGGERS
    assert (site.counts(), site.profiles()) == (counts, profiles)

    batch = next(result for result in results if result.rows)
    Landing(site.client, site.settings.stream.name).insert(batch.rows, batch.ranges)
    assert (site.counts(), site.profiles()) == (counts, profiles), "A batch done again after it counted twice."

    site.play(second, RecordingEsp())
    assert site.counts()["landing"] == len(messages)
    assert site.counts()["events"] == site.counts()["person_states"] == site.statuses()["accepted"]


def test_a_deployment_while_events_come_in_loses_and_repeats_none(warehouse: WarehouseProcess, site: Site) -> None:
    endless = cycle(shopping(seed=4, people=12, minutes=30, start_ms=NOW_MS - 30 * MINUTE_MS))
    posted: list[Message] = []
    deployed = Event()

    def flow(batches: MicroBatches) -> None:
        """Batch after batch, done again where the deployment got in the way, until the deployment is over."""
        lease = site.hold(batches)
        batches.recover(lease)
        while not deployed.is_set():
            posted.extend(islice(endless, 20))
            append(batches.stream, posted[-20:], site.clock())
            try:
                drained(batches, lease)
            except WarehouseError:
                batches.recover(lease)
        batches.recover(lease)
        drained(batches, lease)

    with site.micro_batches(RecordingEsp()) as batches, ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(flow, batches)
        try:
            run_deploy(warehouse.settings)
        finally:
            deployed.set()
        flowing.result()
    statuses, counts = site.statuses(), site.counts()
    assert sum(statuses.values()) == counts["landing"] == len(posted)
    assert statuses["accepted"] == len(accepted(posted))
    for table in ("landing_message_ids", "events", "person_states", "session_states"):
        assert counts[table] == statuses["accepted"], table


def test_dbt_build_passes_on_real_rows_with_all_its_tests(warehouse: WarehouseProcess, site: Site) -> None:
    messages = shopping(seed=3, people=20, minutes=30, start_ms=NOW_MS - 30 * MINUTE_MS)
    site.play(messages, RecordingEsp())
    counts = site.counts()
    with no_warnings():
        from wakeline.warehouse.dbt import run_dbt

        result = run_dbt(warehouse.settings, ["build"])
    statuses = {one.node.name: str(one.status) for one in result.result.results}
    kinds = {str(one.node.resource_type) for one in result.result.results}
    assert result.success, {name: status for name, status in statuses.items() if status not in ("success", "pass")}
    assert {"model", "test", "unit_test"} <= kinds
    assert {"events_are_the_accepted_rows_of_landing", "offsets_of_landing_have_no_gaps"} <= statuses.keys()
    assert site.counts() == counts
    stream = open_stream(site.settings, site.clock)
    assert counts["landing"] == stream.lag({}).events == len(messages)
    stream.close()


def test_a_copied_project_deploys_to_a_database_of_its_own(copied: Settings, site: Site) -> None:
    assert len(run_deploy(copied).triggers) == len(TRIGGERS)
    assert site.rows("SELECT count() FROM copied.landing") == [(0,)]


def test_a_deployment_adds_the_columns_that_a_newer_model_has(copied: Settings, site: Site) -> None:
    """Tables that no run of dbt fills are as old as the installation."""
    for table in WRITTEN_BY_THE_PIPELINE:
        [path] = copied.dbt_dir.glob(f"models/*/{table}.sql")
        path.write_text(path.read_text(encoding="utf-8").replace("where 1 = 0", ", 'new' as added\nwhere 1 = 0"))
    run_deploy(copied)
    rows = site.rows("SELECT table FROM system.columns WHERE database = 'copied' AND name = 'added'")
    assert {table for (table,) in rows} >= set(WRITTEN_BY_THE_PIPELINE)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_model_that_is_wrong_is_said_in_one_sentence_that_names_its_file(copied: Settings, mistake: str) -> None:
    sql, word = MISTAKES[mistake]
    path = copied.dbt_dir / TRIGGER
    path.write_text(sql, encoding="utf-8")
    try:
        with pytest.raises(ConfigError) as raised:
            run_deploy(copied)
    finally:
        path.unlink()
    said = str(raised.value)
    assert TRIGGER in said
    assert word in said
    assert "\n" not in said
    assert str(Path.home()) not in said


def moment(at_ms: int) -> datetime:
    """A time as the warehouse gives it: UTC without saying so."""
    return to_datetime(at_ms).replace(tzinfo=None)


def test_what_scanners_do_and_providers_report_is_not_the_persons_doing(site: Site) -> None:
    hour_ms = 3_600_000
    site.play(
        [
            track("Product Viewed", "m1", user="ann", at_ms=NOW_MS - 9 * hour_ms),
            track("Email Opened", "m2", user="ann", at_ms=NOW_MS - 8 * hour_ms),
            track("Email Link Clicked", "m3", user="ann", at_ms=NOW_MS - 7 * hour_ms, automated=False),
            track("Email Opened", "m4", user="ann", at_ms=NOW_MS - 6 * hour_ms, automated=True),
            track("Email Link Clicked", "m5", user="ann", at_ms=NOW_MS - 5 * hour_ms, automated=True),
            track("Email Delivered", "m6", user="ann", at_ms=NOW_MS - 4 * hour_ms),
            track("Email Bounced", "m7", user="ann", at_ms=NOW_MS - 3 * hour_ms, bounce_type="soft"),
        ]
    )
    [(last_seen_at,)] = site.rows("SELECT last_seen_at FROM persons")
    [mails] = site.rows(
        "SELECT delivered_count, open_count, automated_open_count, click_count, automated_click_count, bounce_count,"
        " last_opened_at, last_clicked_at, toUnixTimestamp(last_unsubscribed_at) FROM person_emails"
    )
    assert last_seen_at == mails[7] == moment(NOW_MS - 7 * hour_ms)
    assert mails[:7] == (1, 1, 1, 1, 1, 1, moment(NOW_MS - 8 * hour_ms))
    assert mails[8] == 0


def test_an_opt_out_is_on_the_profile_of_whoever_it_names(site: Site) -> None:
    site.play([track("Unsubscribed", "m1", user="ann"), track("Unsubscribed", "m2", email="bob@example.com")])
    rows = site.rows("SELECT profile_id, last_unsubscribed_at FROM person_emails ORDER BY profile_id")
    assert rows == [(profile, moment(NOW_MS)) for profile in ("email:bob@example.com", "user:ann")]
