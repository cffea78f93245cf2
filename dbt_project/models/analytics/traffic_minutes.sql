{{
    config(
        materialized='materialized_view',
        engine='AggregatingMergeTree()',
        order_by='(minute, source, status, partition)',
        partition_by='toYYYYMM(minute)',
        full_refresh=false,
        on_schema_change='append_new_columns',
        settings={
            'non_replicated_deduplication_window': 10000,
            'replicated_deduplication_window': 10000,
        },
    )
}}

-- What traffic was usual, for longer than landing is kept: a few rows a minute, whatever the traffic.
select
    toStartOfMinute(received_at) as minute,
    source,
    status,
    `partition`,
    sumSimpleState(toUInt64(1)) as event_count,
    maxSimpleState(received_at) as last_received_at
from {{ ref('landing') }}
group by minute, source, status, `partition`
