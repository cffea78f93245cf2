from collections.abc import Iterator
from pathlib import Path

import orjson
import pandas as pd
import pytest
import sqlalchemy as sa
from support.archiving import BUCKET, Archive, S3Server, open_s3
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, Hand
from support.messages import Message, append, event, identify, track
from support.sending import LANE, LEASE_MS, RecordingEsp
from support.warehouse import Site, empty

from wakeline.archive import parts
from wakeline.archive.begun import BegunParts
from wakeline.archive.factory import open_store
from wakeline.archive.hours import Hour, Version, hour_of, hour_start, read_versions, write_versions
from wakeline.archive.s3 import Bucket
from wakeline.archive.store import Folder, Store
from wakeline.database import consent_stamps, consents, record_addresses, suppressions
from wakeline.errors import ArchiveError, ConfigError, LeaseLostError, WarehouseError
from wakeline.settings import ArchiveSettings, Settings, SourceSettings
from wakeline.warehouse.fence import close_fence

pytestmark = pytest.mark.stack

FIRST = [
    identify("m1", user="ann", device="phone", email="ann@example.com", marketing=True),
    track("Product Viewed", "m2", user="ann", product_id="p1", category="bags"),
    track("Page Engaged", "m3", user="ann", product_id="p1", category="bags", engaged_seconds=15),
    track("Product Added", "m4", user="ann", product_id="p1", quantity=2, cart_id="c1"),
    track("Product Viewed", "m4", user="ann", product_id="p1"),
]
SECOND = [
    track("Order Completed", "m5", user="ann", order_id="o1", total=20, products=[{"product_id": "p1"}]),
    track("Product Viewed", "m6", device="tablet", product_id="p2", category="bags"),
    {"type": "nonsense", "messageId": "m7", "userId": "ann"},
]
LATE = [track("Product Viewed", "m8", user="bob", product_id="p3", category="hats")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(site: Site, folder: Path) -> Archive:
    return Archive(site, Folder(folder))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with open_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def play(site: Site, messages: list[Message], hour: int) -> None:
    site.clock.now_ms = NOW_MS + hour * HOUR_MS
    site.play(messages, RecordingEsp())


def play_all(site: Site) -> None:
    play(site, FIRST, 0)
    play(site, SECOND, 2)


def assert_same_after(site: Site, restore: Archive) -> None:
    counts, profiles, rows = site.counts(), site.profiles(), all_rows(site)
    empty(site.client)
    restore.restore()
    assert all_rows(site) == rows
    assert site.counts() == counts
    assert site.profiles() == profiles


def all_rows(site: Site) -> list[tuple[object, ...]]:
    return site.rows("SELECT * FROM landing ORDER BY ALL")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Writing


def test_every_hour_of_a_stream_becomes_a_file_with_everything_that_was_received(
    site: Site, archive: Archive, folder: Path
) -> None:
    play_all(site)
    written = archive.write()
    stream = site.settings.stream.name
    assert [(one.hour, one.rows) for one in written] == [
        (Hour(NOW_MS, stream), 5),
        (Hour(NOW_MS + 2 * HOUR_MS, stream), 3),
    ]
    home = f"stream={stream}/date=2027-01-15"
    names = [f"{home}/hour={hour}/events.{kind}" for hour in ("08", "10") for kind in ("json", "parquet")]
    assert files(folder) == names
    frames = [pd.read_parquet(folder / name) for name in names if name.endswith("parquet")]
    table = pd.concat(frames)
    assert sorted(table.status.value_counts().to_dict().items()) == [
        ("accepted", 6),
        ("duplicate", 1),
        ("quarantined", 1),
    ]
    assert {orjson.loads(message)["messageId"] for message in table.message} == {f"m{number}" for number in range(1, 8)}
    assert f"Archived 5 rows of 2027-01-15 08:00 of '{stream}'" in archive.said[0]


def test_a_second_time_nothing_is_written(site: Site, archive: Archive, folder: Path) -> None:
    play_all(site)
    archive.write()
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}
    assert archive.write() == []
    assert {name: (folder / name).stat().st_mtime_ns for name in files(folder)} == before


def test_the_same_rows_give_the_same_file(site: Site, archive: Archive, tmp_path: Path) -> None:
    play_all(site)
    archive.write()
    site.client.command("OPTIMIZE TABLE landing FINAL")
    other = Archive(site, Folder(tmp_path / "other"))
    other.write()
    for name in files(tmp_path / "other"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "archive" / name).read_bytes()


def test_an_hour_that_rows_come_late_for_is_written_again_and_no_other(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    play(site, LATE, 2)
    assert [(one.hour.start_ms, one.rows) for one in archive.write()] == [(NOW_MS + 2 * HOUR_MS, 4)]
    assert archive.write() == []
    assert_same_after(site, archive)


def test_hours_outside_of_the_bounds_are_left_alone(site: Site, archive: Archive) -> None:
    play_all(site)
    first_ms, end_ms = NOW_MS + HOUR_MS, NOW_MS + 3 * HOUR_MS
    [written] = archive.writing(first_ms, end_ms)
    assert written.hour.start_ms == NOW_MS + 2 * HOUR_MS


def test_a_file_is_never_replaced_by_one_that_lacks_rows_of_it(site: Site, archive: Archive) -> None:
    play(site, FIRST, 0)
    archive.write()
    rows = all_rows(site)
    empty(site.client)
    assert archive.write() == []
    site.client.command("ALTER TABLE landing DELETE WHERE 1 SETTINGS mutations_sync = 2")
    late = {**dict(zip(columns(site), rows[-1], strict=True)), "partition": 9, "offset": 7}
    site.client.insert("landing", [list(late.values())], column_names=list(late))
    with pytest.raises(ArchiveError, match=r"Landing lacks rows of 2027-01-15 08:00 .* run restore_hours"):
        archive.write()
    archive.restore()
    assert len(all_rows(site)) == len(rows) + 1
    assert [one.rows for one in archive.write()] == [len(rows) + 1]


def columns(site: Site) -> list[str]:
    return [name for [name] in site.rows("SELECT name FROM system.columns WHERE table = 'landing' ORDER BY position")]


class CutOff(Exception):  # noqa: N818
    """Stands for a process that ends."""


@pytest.mark.parametrize("at", ["before the file", "after the file"])
def test_a_writing_that_is_cut_off_leaves_the_old_file_or_the_new_one_and_is_done_again(
    site: Site, archive: Archive, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(site, FIRST, 0)
    archive.write()
    play(site, LATE, 0)
    upload = archive.store.upload

    def cut_off(name: str, path: Path) -> None:
        if name.endswith("parquet"):
            if at == "after the file":
                upload(name, path)
            raise CutOff

        upload(name, path)

    with monkeypatch.context() as patch:
        patch.setattr(archive.store, "upload", cut_off)
        with pytest.raises(CutOff):
            archive.write()
    [restored] = archive.restore(dry_run=True)
    assert restored.archived == (len(FIRST) + 1 if at == "after the file" else len(FIRST))
    assert [one.rows for one in archive.write()] == [len(FIRST) + 1]
    assert_same_after(site, archive)


def test_two_runs_do_not_write_at_once(site: Site, archive: Archive, folder: Path) -> None:
    play_all(site)
    first, second = archive.writing(), archive.writing()
    next(first)
    with pytest.raises(ArchiveError, match="Run write writes the archive or restores from it"):
        next(second)
    assert [one.rows for one in first] == [3]
    assert archive.write() == []


def test_a_run_that_was_paused_and_replaced_writes_nothing_more(site: Site, archive: Archive, folder: Path) -> None:
    play_all(site)
    first = archive.writing()
    next(first)
    before = files(folder)
    site.clock.now_ms += LEASE_MS
    lease = site.book.lanes.acquire_archive("run-8", site.clock(), LEASE_MS)
    with pytest.raises(LeaseLostError):
        next(first)
    assert files(folder) == before
    assert lease is not None
    site.book.lanes.renew(lease, site.clock(), LEASE_MS)  # It was not taken from the one who has it now.


# Restoring


def test_what_was_lost_comes_back_in_every_table_and_every_profile(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    assert_same_after(site, archive)


def test_a_bucket_serves_as_well_as_a_folder(site: Site, s3: S3Server) -> None:
    client = s3.client()
    play_all(site)
    archive = Archive(site, Bucket(client, BUCKET, f"/{site.settings.stream.name}/"))
    assert [one.rows for one in archive.write()] == [5, 3]
    assert archive.write() == []
    assert_same_after(site, archive)
    assert archive.store.names("stream=nobody") == []
    assert not archive.store.download("nothing", Path("never"))
    client.close()


def test_message_bytes_that_are_no_text_come_back_as_they_were(site: Site, archive: Archive) -> None:
    site.clock.now_ms = NOW_MS
    with site.micro_batches(RecordingEsp()) as batches:
        batches.stream.append([("key", b"\xff\x00\xfe no envelope"), event(FIRST[0])])
        site.work(batches)
    archive.write()
    assert_same_after(site, archive)
    assert site.rows("SELECT hex(message) FROM landing WHERE status = 'quarantined'")[0][0].startswith("FF00FE")


def test_nothing_is_restored_through_old_views_into_new_tables(site: Site, archive: Archive) -> None:
    play(site, FIRST, 0)
    archive.write()
    rows = all_rows(site)
    empty(site.client)
    close_fence(site.client, ["person_states"])
    try:
        with pytest.raises(
            WarehouseError, match=r"^A rebuild of profiles was cut off .* 'wakeline rebuild --execute person_states'"
        ):
            archive.restore()
        assert all_rows(site) == []
    finally:  # The table is the whole session's.
        close_fence(site.client, [])
    archive.restore()
    assert all_rows(site) == rows


def test_a_dry_run_says_what_would_be_inserted_and_inserts_nothing(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    site.client.command("ALTER TABLE landing DELETE WHERE message_id IN ('m1', 'm2', 'm6') SETTINGS mutations_sync = 2")
    rows = all_rows(site)
    looked = archive.restore(dry_run=True)
    assert [(one.archived, one.landed, one.inserted) for one in looked] == [(5, 3, 2), (3, 2, 1)]
    assert all_rows(site) == rows
    assert archive.said[-1].endswith("3 rows in the archive, 2 in landing, 1 would be inserted")


def test_what_is_there_already_is_not_inserted_again(
    site: Site, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    play_all(site)
    archive.write()
    counts = site.counts()
    assert [one.inserted for one in archive.restore()] == [0, 0]
    assert site.counts() == counts
    # A hole in the middle: not a single row of what is around it.
    site.client.command("ALTER TABLE landing DELETE WHERE message_id = 'm2' SETTINGS mutations_sync = 2")
    assert [one.inserted for one in archive.restore()] == [1, 0]
    assert site.counts()["landing"] == counts["landing"]


def test_only_the_hours_that_were_asked_for_are_restored(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    empty(site.client)
    assert [one.hour.start_ms for one in archive.restore(NOW_MS, NOW_MS + HOUR_MS)] == [NOW_MS]
    assert site.counts()["landing"] == len(FIRST)


@pytest.mark.parametrize("at", ["insert", "remove"])
@pytest.mark.parametrize("part", [1, 2])
def test_a_restore_that_is_cut_off_and_repeated_counts_everything_once(
    site: Site, archive: Archive, at: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 3)
    play_all(site)
    archive.write()
    counts, profiles = site.counts(), site.profiles()
    empty(site.client)
    with monkeypatch.context() as patch:
        cut_off_at(patch, site, at, part)
        with pytest.raises((CutOff, WarehouseError)):
            archive.restore()
    site.client.command("DROP TABLE IF EXISTS broken_view")
    assert len(BegunParts(site.engine).all()) == 1
    assert site.counts() != counts
    archive.restore(NOW_MS + 3 * HOUR_MS)  # It is finished whatever hours are asked for.
    assert BegunParts(site.engine).all() == []
    archive.restore()
    assert site.counts() == counts
    assert site.profiles() == profiles
    assert BegunParts(site.engine).all() == []


def cut_off_at(patch: pytest.MonkeyPatch, site: Site, at: str, part: int) -> None:
    """In the middle of inserting a part into the views, or right behind it."""
    remove, add = BegunParts.remove, BegunParts.add
    done: list[object] = []

    def counted_add(begun: BegunParts, *arguments: object) -> None:
        add(begun, *arguments)  # type: ignore[arg-type]
        done.append(arguments)
        if at == "insert" and len(done) == part:
            site.client.command(
                "CREATE MATERIALIZED VIEW broken_view ENGINE = Memory AS SELECT throwIf(1) AS broken FROM events"
            )

    def failing_remove(begun: BegunParts, *arguments: object) -> None:
        if len(done) == part:
            raise CutOff
        remove(begun, *arguments)  # type: ignore[arg-type]

    patch.setattr(BegunParts, "add", counted_add)
    if at == "remove":
        patch.setattr(BegunParts, "remove", failing_remove)


def test_a_restore_that_was_cut_off_long_ago_is_not_repeated_blindly(
    site: Site, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_all(site)
    archive.write()
    empty(site.client)
    with monkeypatch.context() as patch:
        cut_off_at(patch, site, "remove", 1)
        with pytest.raises(CutOff):
            archive.restore()
    archive.restore(dry_run=True)
    assert any(line.startswith("A restore was cut off in 2027-01-15 08:00") for line in archive.said)
    monkeypatch.setattr("wakeline.archive.restoring.MAX_INSERTS_SINCE", -1)
    with pytest.raises(ArchiveError, match="so long ago that ClickHouse may not know"):
        archive.restore()


def test_restoring_sends_nothing_and_moves_no_lane(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    esp = RecordingEsp()
    state, offsets, sends = site.book.lanes.state(LANE), site.book.lanes.committed(), site.sends()
    empty(site.client)
    archive.restore()
    assert site.book.lanes.committed() == offsets
    assert site.book.lanes.state(LANE).evaluated_until_ms == state.evaluated_until_ms
    site.clock.now_ms += MINUTE_MS
    site.play([], esp)
    assert esp.requests == []
    assert site.sends() == sends
    assert site.book.lanes.committed() == offsets


def test_after_everything_was_lost_processing_goes_on_behind_what_was_restored(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    with site.micro_batches(RecordingEsp()) as batches:
        append(batches.stream, LATE, site.clock())
        ends = site.book.lanes.committed()
        batches.stream.retain(ends, site.clock() + DAY_MS)
        empty(site.client)
        archive.restore()
        [result] = site.work(batches)
    assert [row.message_id for row in result.rows] == ["m8"]
    assert site.counts()["landing"] == len(FIRST) + len(SECOND) + 1


def test_what_a_lane_at_work_would_ingest_itself_is_not_restored_beside_it(site: Site, archive: Archive) -> None:
    play_all(site)
    archive.write()
    lease = site.book.lanes.acquire(LANE, "run-7", site.clock(), LEASE_MS)
    assert lease is not None
    assert [one.inserted for one in archive.restore()] == [0, 0]
    empty(site.client)
    with pytest.raises(ArchiveError, match=r"lane 0 would ingest next, and run run-7 is at work .* pause the lane"):
        archive.restore()
    assert site.counts()["landing"] == 0
    site.book.lanes.release(lease)
    archive.restore()
    assert site.counts()["landing"] == len(FIRST) + len(SECOND)
    assert site.book.lanes.acquire(LANE, "run-8", site.clock(), LEASE_MS) is not None


def test_a_batch_that_a_lane_has_begun_is_left_to_it(site: Site, archive: Archive) -> None:
    play(site, FIRST, 0)
    archive.write()
    empty(site.client)
    lease = site.book.lanes.acquire(LANE, "run-7", site.clock(), LEASE_MS)
    assert lease is not None
    ranges = {partition: (0, end) for partition, end in site.book.lanes.committed().items()}
    site.book.lanes.begin(lease, ranges, site.clock(), LEASE_MS)
    site.book.lanes.release(lease)
    [left] = archive.restore()
    assert (left.inserted, left.begun) == (0, len(FIRST))
    site.play([], RecordingEsp())
    assert site.counts()["landing"] == len(FIRST)


SAID = [
    identify("m1", user="ann", email="ann@example.com", marketing=True),
    track("Unsubscribed", "m2", user="ann", purpose="marketing"),
    {**track("Email Bounced", "m3", device="d1"), "context": {"traits": {"email": "Bob@example.com"}}},
    {
        "type": "identify",
        "messageId": "m4",
        "anonymousId": "hubspot-7",
        "traits": {"email": "cleo@example.com"},
        "properties": {"automated": True},
    },
    track("Product Viewed", "m1", user="ann"),
]


@pytest.mark.parametrize("landed", [False, True])
def test_what_people_said_comes_back_into_a_ledger_that_has_not_heard_it(
    site: Site, folder: Path, landed: bool
) -> None:
    crm = {"crm": SourceSettings(write_keys=["a-write-key"], trusted=True)}
    site.settings = site.settings.model_copy(update={"sources": crm})
    archive = Archive(site, Folder(folder))
    site.clock.now_ms = NOW_MS
    with site.micro_batches(RecordingEsp()) as batches:
        batches.stream.append([event(message, source="crm") for message in SAID])
        site.work(batches)
    heard = said(site)
    assert [len(rows) for rows in heard] == [1, 1, 1, 1]
    archive.write()
    if not landed:
        empty(site.client)
    with site.engine.begin() as connection:
        for table in SAID_TABLES:
            connection.execute(sa.delete(table))
    archive.restore(dry_run=True)
    assert said(site) == [[], [], [], []]
    archive.restore()
    assert said(site) == heard


SAID_TABLES = (consents, consent_stamps, suppressions, record_addresses)


def said(site: Site) -> list[list[tuple[object, ...]]]:
    """All that the ledger has heard."""
    with site.engine.connect().execution_options(read_only=True) as connection:
        return [sorted(map(tuple, connection.execute(sa.select(table)).all())) for table in SAID_TABLES]


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_hour_is_not_restored_before_an_earlier_one_that_lanes_would_pass_over(
    site: Site, archive: Archive, dry_run: bool
) -> None:
    play_all(site)
    play(site, [{**message, "messageId": f"later-{message['messageId']}"} for message in FIRST], 4)
    archive.write()
    stream = site.settings.stream.name
    empty(site.client)
    third = NOW_MS + 4 * HOUR_MS
    sentence = f"15 12:00 of '{stream}' cannot be restored before 2027-01-15 08:00 of '{stream}': landing lacks .* from"
    with pytest.raises(ArchiveError, match=sentence):
        archive.restore(third, dry_run=dry_run)
    assert site.counts()["landing"] == 0
    archive.restore(NOW_MS, NOW_MS + HOUR_MS)
    with pytest.raises(ArchiveError, match="cannot be restored before 2027-01-15 10:00"):
        archive.restore(third, dry_run=dry_run)
    archive.restore(NOW_MS + HOUR_MS, dry_run=dry_run)
    assert archive.restore(NOW_MS, dry_run=dry_run)


def test_a_gap_that_the_archive_has_nothing_of_is_said(site: Site, archive: Archive) -> None:
    play(site, FIRST, 0)
    play(site, [track("Product Viewed", "m20", user="ann", product_id="p1")], 1)
    assert [one.rows for one in archive.writing(NOW_MS + HOUR_MS)] == [1]
    empty(site.client)
    archive.restore()
    assert any("are neither in landing nor in the archive; lanes go on behind them" in line for line in archive.said)


def test_a_missing_file_is_named(site: Site, archive: Archive, folder: Path) -> None:
    play(site, FIRST, 0)
    archive.write()
    [file] = folder.rglob("*.parquet")
    file.unlink()
    empty(site.client)
    with pytest.raises(ArchiveError, match=r"hour=08/events\.parquet is missing in the archive"):
        archive.restore()


@pytest.mark.parametrize("damage", ["a bit", "the end", "the manifest"])
def test_damage_is_named_and_nothing_of_it_is_restored(site: Site, archive: Archive, folder: Path, damage: str) -> None:
    play(site, FIRST, 0)
    archive.write()
    [file] = folder.rglob("*.json" if damage == "the manifest" else "*.parquet")
    content = bytearray(file.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
    file.write_bytes(content[:-7] if damage == "the end" else b"{}}" if damage == "the manifest" else content)
    empty(site.client)
    with pytest.raises(ArchiveError, match=r"hour=08/events\.\w+.* is damaged"):
        archive.restore()
    assert site.counts()["landing"] == 0


def test_no_table_is_left_behind(site: Site, archive: Archive) -> None:
    play(site, FIRST, 0)
    archive.write()
    archive.restore()
    assert site.rows("SELECT name FROM system.tables WHERE name LIKE 'archive%'") == []


# Names


@pytest.mark.parametrize("stream", ["events", "a/b c", "ä=%", "date=2027-01-01"])
def test_a_file_is_named_after_its_hour_and_tells_it_again(stream: str) -> None:
    hour = Hour(NOW_MS, stream)
    assert hour.file.count("/") == 3
    assert hour_of(hour.file) == hour
    assert hour_of("stream=x/other.txt") is None


def test_a_manifest_tells_what_was_written(tmp_path: Path) -> None:
    store: Store = Folder(tmp_path)
    hour = Hour(NOW_MS, "events")
    assert read_versions(store, hour) == []
    version = Version({"0": (3, 5, 9), "2": (1, 0, 0)}, 100, "ab")
    write_versions(store, hour, [version])
    assert read_versions(store, hour) == [version]
    assert orjson.loads((tmp_path / hour.manifest).read_bytes())[0]["rows"] == version.rows == 4


@pytest.mark.parametrize("text", ["2027-01-15T08:00", "2027-01-15 08:30:10", "2027-01-15T08", "2027-01-15T10:00+02:00"])
def test_an_hour_may_be_written_in_several_ways(text: str) -> None:
    assert hour_start(text) == NOW_MS


def test_what_is_no_hour_is_said() -> None:
    with pytest.raises(ArchiveError, match=r"'yesterday' is no hour; write it as"):
        hour_start("yesterday")


def test_the_archive_is_a_folder_unless_the_settings_name_a_bucket(tmp_path: Path, s3: S3Server, clock: Hand) -> None:
    def opened(url: str) -> str:
        return str(open_store(Settings(data_dir=tmp_path, archive=ArchiveSettings(url=url)), s3.client))

    assert opened("") == str(tmp_path / "archive")
    assert opened("elsewhere") == "elsewhere"
    assert opened("s3://bucket/a/b/") == "s3://bucket/a/b/"
    assert opened("s3://bucket") == "s3://bucket/"
    for wrong in ("gs://bucket", "s3:///x"):
        with pytest.raises(ConfigError, match=r"archive\.url is '.*'; write a folder, or s3://BUCKET/PREFIX"):
            opened(wrong)


def test_a_bucket_that_does_not_exist_is_one_sentence(s3: S3Server) -> None:
    client = s3.client()
    with pytest.raises(ArchiveError, match=r"s3://nobody/x of the archive cannot be used; correct archive\.url"):
        Bucket(client, "nobody", "").write("x", b"")
    client.close()
