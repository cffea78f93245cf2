{{ config(tags=['live']) }}

with orders as (

    select * from {{ ref('person_orders') }}

),

confirmed as (

    select
        *,
        if(empty(products), '', products[1].1) as lead_product_id
    from orders
    where
        completed_at > {{ as_of() }} - interval 1 day
        and cancelled_at < completed_at

)

select
    ---------- contract
    confirmed.profile_id as profile_id,
    concat('order/', confirmed.order_id) as occurrence_key,
    confirmed.completed_at as occurred_at,
    confirmed.completed_at + interval 1 day as expires_at,

    ---------- context
    confirmed.order_id as order_id,
    confirmed.currency as currency,
    confirmed.total as total,
    confirmed.products as products,
    arrayFilter(
        product -> not has(arrayMap(line -> line.1, confirmed.products), product.1),
        {{ recommended_or_bestsellers('related.recommended') }}
    ) as recommendations
from confirmed
left join {{ recommendations_for('select lead_product_id from confirmed') }} as related
    on confirmed.lead_product_id = related.product_id
