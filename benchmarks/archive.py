"""Measures the archive on the shopper traffic of the demo: figures of docs/archive.md.

Run with `.venv/bin/python benchmarks/archive.py`. Prints how large a million events are, and how many a second are
archived and restored.
"""

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.archiving import Archive
from support.clocks import Hand
from support.messages import append
from support.sending import RecordingEsp
from support.warehouse import Site, WarehouseProcess, empty, no_warnings, open_site

from wakeline.archive.store import Folder
from wakeline.play.storefront import simulate
from wakeline.warehouse.deploy import deploy

EVENTS = 100_000
CHUNK = 5_000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = WarehouseProcess(folder / "warehouse")
        try:
            process.start()
            with no_warnings():
                deploy(process.settings, lambda step: None)
            with open_site(process.settings, folder / "site", Hand()) as site:
                measure(site, folder / "archive")
        finally:
            process.kill()


def measure(site: Site, folder: Path) -> None:
    play(site)
    archive = Archive(site, Folder(folder))
    before = time.monotonic()
    [written] = archive.write()
    print(f"archived: {written.rows / (time.monotonic() - before):,.0f} events/s")
    [[landing_bytes]] = site.rows("SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'landing' AND active")
    print(f"a million events: {written.size / written.rows:.0f} MB; in landing {landing_bytes / written.rows:.0f} MB")
    counts = site.counts()
    empty(site.client)
    before = time.monotonic()
    archive.restore()
    print(f"restored: {written.rows / (time.monotonic() - before):,.0f} events/s")
    if site.counts() != counts:
        raise SystemExit(f"Restored are {site.counts()}, and not {counts}.")


def play(site: Site) -> None:
    messages = (timed.message for timed in simulate(1, EVENTS // 20, 600))
    with site.micro_batches(RecordingEsp()) as batches:
        lease = site.hold(batches)
        count = 0
        while count < EVENTS and (chunk := list(islice(messages, CHUNK))):
            append(batches.stream, chunk, site.clock())
            count += len(chunk)
        records = 0
        while records < count:  # Ingests alone, without the triggers.
            starts = {partition: batches.committed.get(partition, 0) for partition in batches.stream.partitions()}
            found = batches.stream.read(starts, CHUNK, 1 << 30)
            ranges = {record.partition: (starts[record.partition], record.offset + 1) for record in found}
            batches._ingest(lease, found, ranges, {})
            batches.lanes.commit(lease, ranges, site.clock(), site.clock())
            batches.committed |= {partition: end for partition, (_, end) in ranges.items()}
            records += len(found)
        batches.lanes.release(lease)


if __name__ == "__main__":
    main()
