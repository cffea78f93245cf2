{{ config(engine='AggregatingMergeTree()', order_by='(id, order_id)') }}

select
    id,
    order_id,
    maxSimpleState(if(event = 'Order Completed', occurred_at, toDateTime64(0, 3, 'UTC'))) as completed_at,
    maxSimpleState(if(event = 'Order Cancelled', occurred_at, toDateTime64(0, 3, 'UTC'))) as cancelled_at,
    argMaxState(total, (occurred_at, message_id)) as latest_total,
    argMaxIfState(currency, (occurred_at, message_id), currency != '') as latest_currency,
    argMaxIfState(
        cast(
            arrayMap(
                (product_id, name, price, url, image_url, quantity)
                    -> (product_id, name, price, toString(currency), url, image_url, quantity),
                product_ids, product_names, product_prices, product_urls, product_image_urls, product_quantities
            ),
            'Array({{ ordered_product_type() }})'
        ),
        (occurred_at, message_id),
        notEmpty(product_ids)
    ) as latest_products
from {{ ref('events') }}
where order_id != '' and event in ('Order Completed', 'Order Cancelled')
group by id, order_id
