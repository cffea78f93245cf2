"""What a past window's triggers say: every occurrence that a lane would have found, had all gone well.

Profiles are as they are now, so nothing comes up that has been settled since: a cart that was bought after all, an
order that was cancelled. Only the clock is turned back, to each moment at which a lane had reason to look, because a
trigger looks a limited time back: what it would not show any more today is shown then. What comes of it is decided by
the gates of today.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from wakeline.pipeline.triggers import Occurrence
from wakeline.replay.asking import Span
from wakeline.warehouse.evaluation import Evaluator, Member

#: A window is looked at in so many steps; a trigger that looks back less than a step may be missed in a longer one.
_STEPS = 288
_SHORTEST_STEP_MS = 60_000
#: Ids that are asked about at a time.
_IDS = 5_000


@dataclass(frozen=True, slots=True)
class Found:
    """Occurrences, and the ids of the people they are about."""

    occurrences: Sequence[Occurrence]
    #: Profile id -> all ids of the person.
    ids: Mapping[str, Sequence[str]]

    @property
    def members(self) -> list[Member]:
        """The people, as the evaluation names them."""
        return [(profile_id, id_) for profile_id, ids in self.ids.items() for id_ in ids]


def find(evaluator: Evaluator, span: Span, now_ms: int) -> Found:
    """Every occurrence of the window, as it is told now where it still is."""
    found: dict[tuple[str, str, str], Occurrence] = {}
    ids: dict[str, list[str]] = {}
    for moment_ms, members in _looks(evaluator, span):
        own = _by_profile(members)
        for one in evaluator.occurrences(members, moment_ms):
            found[_identity(one)] = one
            ids[one.profile_id] = own[one.profile_id]
    for part in _parts(sorted(ids)):
        members = [(profile_id, id_) for profile_id in part for id_ in ids[profile_id]]
        now = {_identity(one): one for one in evaluator.occurrences(members, now_ms)}
        found |= {key: one for key, one in now.items() if key in found}
    return Found(list(found.values()), ids)


def step_ms(span: Span) -> int:
    """How long each step of a window is."""
    return max(_SHORTEST_STEP_MS, -(-(span.ends_at_ms - span.begins_at_ms) // _STEPS))


def _looks(evaluator: Evaluator, span: Span) -> Iterator[tuple[int, list[Member]]]:
    looks = evaluator.looks(span.begins_at_ms, span.ends_at_ms, step_ms(span))
    for moment_ms, touched in looks.items():
        for part in _parts(sorted(touched)):
            # No wake-up is due between a moment and itself: these are the people behind the ids.
            yield moment_ms, evaluator.candidates(part, 0, 1, moment_ms, moment_ms)


def _identity(one: Occurrence) -> tuple[str, str, str]:
    return one.trigger, one.profile_id, one.occurrence_key


def _by_profile(members: Sequence[Member]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for profile_id, id_ in members:
        ids.setdefault(profile_id, []).append(id_)
    return ids


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := list(islice(rest, _IDS)):
        yield part
