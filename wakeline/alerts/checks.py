"""What is known of each check by its name: likely causes, the first thing to do, and how long it must fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckText:
    """`open_after_seconds` None is the concern's own: where a cause elsewhere is seen first, a check waits for it."""

    meaning: str
    cause: str
    first_action: str
    open_after_seconds: float | None = None


CHECKS: dict[str, CheckText] = {
    "stream_can_be_read": CheckText(
        "The event stream does not answer, is another one, or has lost events that were not processed.",
        "the broker is down, credentials were changed, or the stream was deleted.",
        "read the error in the check; it names what to mend. Offsets stay where they are meanwhile.",
        0,
    ),
    "no_lane_is_paused": CheckText(
        "Somebody holds a lane: nothing of it is processed or sent, and its events wait in the stream.",
        "work on the system, or a drain before an upgrade after which nobody let the lanes go on.",
        "when the reason is gone: `wakeline resume-lane LANE`, or the job resume_lane.",
        0,
    ),
    "heartbeat_arrives": CheckText(
        "The synthetic event that is sent through the collector every few seconds does not come out of the pipeline.",
        "something between collector and ClickHouse stands still, though each part answers.",
        "look at the newest run of resident_lane and at its log; then at `wakeline report`.",
        30,
    ),
    "lag_within_sla": CheckText(
        "Events wait in the stream longer than allowed before they are processed.",
        "more traffic than a lane can take, a slow ClickHouse, or a slow provider of mails.",
        "compare received with the batch times on the asset landing; raise lane.count if it is plain load.",
        30,
    ),
    "volume_as_usual": CheckText(
        "Far fewer events came in than at the same time of past weeks.",
        "a broken release of the shop or of its tags, or a source that was switched off.",
        "find out which source is missing: `traffic_minutes` has the events of each by the minute.",
        10,
    ),
    "quarantine_within_limit": CheckText(
        "Too large a share of the events is not valid and was put into quarantine.",
        "a release of a client that sends another shape, or a source with the wrong time.",
        "look at the reasons in the check; mend the sender, then repair and replay the quarantine.",
        0,
    ),
    "latency_within_sla": CheckText(
        "From the event to the mail's acceptance takes longer than allowed (p95).",
        "the provider answers slowly or puts mails off, or a lane is behind.",
        "look at the stages of latency in `wakeline report`: the slowest one is the place.",
        20,
    ),
    "sends_within_sla": CheckText(
        "A campaign has sent nothing for longer than allowed.",
        "its trigger finds nobody any more, a gate refuses everybody, or its events do not come in.",
        "open the list of decisions of the outbox page for the campaign, and `wakeline campaigns`.",
        30,
    ),
    "fresh_within_sla": CheckText(
        "The newest row of a table is older than allowed.",
        "the table's input stands still, or the job that builds it fails.",
        "look at the asset's last materialization, and start the job that builds it.",
        30,
    ),
    "mails_arrive": CheckText(
        "Too many of a campaign's mails bounce or are marked as spam; it was paused.",
        "a bought list, a form without confirmation, or a mail that nobody asked for.",
        "find out which addresses bounce before `wakeline resume` lets the campaign go on.",
        0,
    ),
    "offsets_of_landing_have_no_gaps": CheckText(
        "Events between stream and landing are missing.",
        "landing was restored or changed by hand, or an insert was lost in a power cut.",
        "restore the hours that are missing with the job restore_hours.",
    ),
    "events_are_the_accepted_rows_of_landing": CheckText(
        "The views behind landing have lost or repeated rows.",
        "a power cut while rows were written, or a view that was changed by hand.",
        "compare both counts in the check's run; rebuild the profiles.",
    ),
}

#: Every other check is a test of a dbt model.
DBT_TEST = CheckText(
    "A test of a dbt model fails.",
    "data that the model's author did not expect, or a change of the model.",
    "open the run: it shows the test's SQL and how many rows fail; `wakeline dbt test --select MODEL` repeats it.",
)


def text_of(check: str) -> CheckText:
    """What is known of a check."""
    return CHECKS.get(check, DBT_TEST)
