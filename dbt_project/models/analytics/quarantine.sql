with replays as (

    select
        stream,
        `partition`,
        offset,
        max(replayed_at) as replayed_at
    from {{ ref('quarantine_replays') }}
    group by stream, `partition`, offset

)

select
    landing.stream as stream,
    landing.`partition` as `partition`,
    landing.offset as offset,
    landing.reason as reason,
    landing.schema_version as schema_version,
    landing.source as source,
    landing.message as message,
    landing.received_at as received_at,
    landing.sent_at as sent_at,
    nullIf(replays.replayed_at, toDateTime64(0, 3, 'UTC')) as replayed_at
from {{ ref('landing') }} as landing
left join replays
    on
        landing.stream = replays.stream
        and landing.`partition` = replays.`partition`
        and landing.offset = replays.offset
where landing.status = 'quarantined'
