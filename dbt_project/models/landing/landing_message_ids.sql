{{
    config(
        materialized='materialized_view',
        engine='MergeTree()',
        order_by='(message_id, offset)',
    )
}}

-- The look-up of deduplication: where each accepted message stands in the stream.
select
    message_id,
    `partition`,
    offset
from {{ ref('landing') }}
where status = 'accepted'
