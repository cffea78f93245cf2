"""Whether processing can go on: the stream answers, is the one that the offsets belong to, and has what comes next."""

from wakeline.pipeline.lanes import LaneStore
from wakeline.streams.protocol import EventStream, Facts


def check_stream(stream: EventStream, lanes: LaneStore) -> Facts:
    """What the stream says of itself; raises StreamError with one sentence that says what is wrong and what to do."""
    facts = stream.facts()
    lanes.require_identity(facts.identity)
    stream.verify(lanes.committed(), lanes.last_read_ms())
    return facts
