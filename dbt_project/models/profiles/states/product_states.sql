{{ config(engine='AggregatingMergeTree()', order_by='(id, product_id)') }}

with lines as (

    select
        id,
        message_id,
        occurred_at,
        event,
        engaged_ms,
        currency,
        product_id,
        product_name,
        product_category,
        product_price,
        product_quantity,
        product_url,
        product_image_url
    from {{ ref('events') }}
    array join
        product_ids as product_id,
        product_names as product_name,
        product_categories as product_category,
        product_prices as product_price,
        product_quantities as product_quantity,
        product_urls as product_url,
        product_image_urls as product_image_url

)

select
    id,
    product_id,
    sumSimpleState(engaged_ms) as engaged_ms,
    sumSimpleState(toUInt64(event = 'Product Viewed')) as view_count,
    sumSimpleState(toUInt64(if(event = 'Order Completed', product_quantity, 0))) as purchased_quantity,
    maxSimpleState(occurred_at) as last_active_at,
    maxSimpleState(if(event = 'Product Viewed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_viewed_at,
    maxSimpleState(if(event = 'Product Added', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_added_at,
    maxSimpleState(if(event = 'Product Removed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_removed_at,
    maxSimpleState(if(event = 'Order Completed', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_purchased_at,
    argMaxIfState(product_quantity, (occurred_at, message_id), event = 'Product Added') as latest_cart_quantity,
    argMaxIfState(product_name, (occurred_at, message_id), product_name != '') as latest_name,
    argMaxIfState(product_category, (occurred_at, message_id), product_category != '') as latest_category,
    argMaxIfState(product_price, (occurred_at, message_id), product_price > 0) as latest_price,
    argMaxIfState(currency, (occurred_at, message_id), currency != '') as latest_currency,
    argMaxIfState(product_url, (occurred_at, message_id), product_url != '') as latest_url,
    argMaxIfState(product_image_url, (occurred_at, message_id), product_image_url != '') as latest_image_url
from lines
group by id, product_id
