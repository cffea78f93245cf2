{{ config(engine='AggregatingMergeTree()', order_by='(id, category, day)') }}

with categories as (

    -- An order counts for the category of each of its lines, anything else for its own category.
    select
        id,
        occurred_at,
        event,
        engaged_ms,
        arrayJoin(
            arrayDistinct(if(event = 'Order Completed', product_categories, [toString(category)]))
        ) as category
    from {{ ref('events') }}

)

select
    id,
    category,
    toDate(occurred_at) as day,
    sumSimpleState(engaged_ms) as engaged_ms,
    sumSimpleState(toUInt64(event in ('Product Viewed', 'Product List Viewed'))) as view_count,
    maxSimpleState(occurred_at) as last_active_at,
    maxSimpleState(if(event = 'Order Completed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_purchased_at
from categories
where category != ''
group by id, category, day
