from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from support.archiving import BUCKET, open_s3
from support.clocks import HOUR_MS, NOW_MS
from support.messages import track
from support.ministack import CREDENTIALS
from support.sending import LEASE_MS, RecordingEsp
from support.warehouse import Site, empty, no_warnings

from wakeline.clock import to_iso
from wakeline.errors import ArchiveError

pytestmark = pytest.mark.stack

MESSAGES = [track("Product Viewed", f"m{number}", user="ann", product_id="p1", category="bags") for number in range(5)]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def jobs(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the jobs, on the site and by its clock."""
    with no_warnings():
        from orchestration import archive

    use(monkeypatch, site)
    return archive


def use(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr("orchestration.archive.settings", lambda: site.settings)
    monkeypatch.setattr("orchestration.archive.system_clock", site.clock)


def write(jobs: Any, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    """The metadata of a run that archives."""
    run_config = {"ops": {"archive": {"config": config}}}
    result = dg.materialize(
        [jobs.archive], instance=instance, resources={"s3": jobs.s3_resource()}, run_config=run_config
    )
    [event] = result.asset_materializations_for_node("archive")
    return {name: value.value for name, value in event.metadata.items()}


def restore(jobs: Any, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"restore": {"config": config}}}
    return jobs.restore_hours.execute_in_process(
        instance=instance, resources={"s3": jobs.s3_resource()}, run_config=run_config
    )


def test_the_asset_says_what_was_archived_and_a_second_run_that_there_was_nothing_new(
    site: Site, jobs: Any, instance: dg.DagsterInstance
) -> None:
    site.play(MESSAGES, RecordingEsp())
    written = write(jobs, instance)
    assert (written["hours"], written["rows"]) == (1, 5)
    assert written["archive"] == str(site.settings.data_dir / "archive")
    assert write(jobs, instance)["hours"] == 0


def test_only_as_many_hours_back_are_looked_at_as_are_asked_for(
    site: Site, jobs: Any, instance: dg.DagsterInstance
) -> None:
    site.play(MESSAGES, RecordingEsp())
    site.clock.now_ms += 100 * HOUR_MS
    assert write(jobs, instance)["hours"] == 0
    assert write(jobs, instance, hours_back=101)["hours"] == 1


def test_an_archive_that_is_turned_off_writes_nothing(
    site: Site, jobs: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.play(MESSAGES, RecordingEsp())
    use(monkeypatch, site.with_settings(archive={"enabled": False}))
    assert write(jobs, instance) == {"hours": 0}
    assert not (site.settings.data_dir / "archive").exists()


def test_a_restore_is_a_dry_run_unless_told_otherwise(site: Site, jobs: Any, instance: dg.DagsterInstance) -> None:
    site.play(MESSAGES, RecordingEsp())
    counts, profiles = site.counts(), site.profiles()
    write(jobs, instance)
    empty(site.client)
    hour = to_iso(NOW_MS)
    assert restore(jobs, instance, from_hour=hour, to_hour=hour).success
    assert site.counts()["landing"] == 0
    assert restore(jobs, instance, from_hour=hour, to_hour=hour, dry_run=False).success
    assert site.counts() == counts
    assert site.profiles() == profiles


def test_a_bucket_is_reached_through_dagster_s_own_resource(
    site: Site, jobs: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site.play(MESSAGES, RecordingEsp())
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with open_s3(tmp_path / "s3") as server:
        place = {"url": f"s3://{BUCKET}/shop", "endpoint_url": server.endpoint_url, "region": "us-east-1"}
        use(monkeypatch, site.with_settings(archive=place))
        assert write(jobs, instance)["archive"] == f"s3://{BUCKET}/shop/"
        empty(site.client)
        restore(jobs, instance, from_hour=to_iso(NOW_MS), to_hour=to_iso(NOW_MS), dry_run=False)
    assert site.counts()["landing"] == len(MESSAGES)


def test_nothing_is_restored_or_archived_beside_a_run_that_does_either(
    site: Site, jobs: Any, instance: dg.DagsterInstance
) -> None:
    site.play(MESSAGES, RecordingEsp())
    lease = site.book.lanes.acquire_archive("run-7", site.clock(), LEASE_MS)
    assert lease is not None
    hour = to_iso(NOW_MS)
    with pytest.raises(ArchiveError, match="Run run-7 writes the archive or restores from it; wait until it ends"):
        restore(jobs, instance, from_hour=hour, to_hour=hour)
    with pytest.raises(ArchiveError, match="Run run-7 writes the archive"):
        write(jobs, instance)
    site.book.lanes.release(lease)
    assert write(jobs, instance)["hours"] == 1
    assert restore(jobs, instance, from_hour=hour, to_hour=hour).success
