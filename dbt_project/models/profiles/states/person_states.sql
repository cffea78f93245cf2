{{ config(engine='AggregatingMergeTree()', order_by='id') }}

-- The latest value wins; ties go to the larger message id, so that the order of arrival never matters.
select
    id,
    minSimpleState(occurred_at) as first_seen_at,
    maxSimpleState(if(is_automated, toDateTime64(0, 3, 'UTC'), occurred_at)) as last_seen_at,
    sumSimpleState(toUInt64(1)) as event_count,
    maxSimpleState(if(event = 'Order Completed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_order_at,
    argMaxIfState(email, (occurred_at, message_id), email != '') as latest_email,
    argMaxIfState(first_name, (occurred_at, message_id), first_name != '') as latest_first_name,
    argMaxIfState(last_name, (occurred_at, message_id), last_name != '') as latest_last_name,
    argMaxIfState(timezone, (occurred_at, message_id), timezone != '') as latest_timezone,
    argMaxIfState(cart_id, (occurred_at, message_id), cart_id != '') as latest_cart_id
from {{ ref('events') }}
group by id
