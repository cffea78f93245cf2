{{
    config(
        materialized='materialized_view',
        engine='AggregatingMergeTree()',
        order_by='(minute, source, status, partition)',
        partition_by='toYYYYMM(minute)',
        on_schema_change='append_new_columns',
    )
}}

-- What traffic was usual, for longer than landing is kept, and so never rebuilt: a few rows a minute, whatever comes.
select
    toStartOfMinute(received_at) as minute,
    source,
    status,
    `partition`,
    sumSimpleState(toUInt64(1)) as event_count,
    maxSimpleState(received_at) as last_received_at
from {{ ref('landing') }}
group by minute, source, status, `partition`
