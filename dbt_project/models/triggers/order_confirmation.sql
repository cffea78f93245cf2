{{ config(tags=['live']) }}

with orders as (

    select * from {{ ref('person_orders') }}

),

confirmed as (

    select *
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
        product -> not has(arrayMap(line -> tupleElement(line, 1), confirmed.products), tupleElement(product, 1)),
        {{ recommended_with("if(empty(confirmed.products), '', tupleElement(confirmed.products[1], 1))") }}
    ) as recommendations
from confirmed
