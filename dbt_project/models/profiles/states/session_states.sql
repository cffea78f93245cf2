{{ config(engine='AggregatingMergeTree()', order_by='(id, session_id)') }}

select
    id,
    session_id,
    minSimpleState(occurred_at) as started_at,
    maxSimpleState(occurred_at) as last_active_at,
    sumSimpleState(toUInt64(1)) as event_count,
    sumSimpleState(toUInt64(type = 'page')) as page_count,
    sumSimpleState(engaged_ms) as engaged_ms,
    maxSimpleState(scroll_depth_percent) as max_scroll_depth_percent,
    maxSimpleState(if(event = 'Order Completed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_order_at
from {{ ref('events') }}
group by id, session_id
