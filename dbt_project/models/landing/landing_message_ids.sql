{{
    config(
        materialized='materialized_view',
        engine='MergeTree()',
        order_by='(message_id, offset)',
        on_schema_change='append_new_columns',
    )
}}

-- The look-up of deduplication: where each accepted message stands in the stream. Nobody repeats a heartbeat.
select
    message_id,
    `partition`,
    offset,
    stream
from {{ ref('landing') }}
where status = 'accepted' and not {{ is_heartbeat('source') }}
