{{ config(tags=['live']) }}

with products as (

    select * from {{ ref('person_products') }}

),

persons as (

    select * from {{ ref('persons') }}

),

carts as (

    select
        products.profile_id as profile_id,
        any(persons.cart_id) as cart_id,
        max(products.last_added_at) as last_added_at,
        min(products.last_added_at) as first_added_at,
        any(products.currency) as currency,
        sum(products.price * products.cart_quantity) as total,
        groupArraySorted(8) ((
            -toUnixTimestamp64Milli(products.last_added_at), products.product_id, products.name, products.price,
            products.currency, products.url, products.image_url, products.cart_quantity
        )) as ranked
    from products
    inner join persons on products.profile_id = persons.profile_id
    where
        products.last_added_at > products.last_removed_at
        and products.last_added_at > persons.last_order_at
    group by products.profile_id

)

select
    ---------- contract
    carts.profile_id as profile_id,
    concat('cart/', if(carts.cart_id != '', carts.cart_id, toString(toDate(carts.first_added_at)))) as occurrence_key,
    carts.last_added_at + interval {{ var('abandoned_cart_after_seconds') }} second as occurred_at,
    carts.last_added_at + interval {{ var('abandoned_cart_after_seconds') }} second + interval 1 day as expires_at,

    ---------- context
    carts.cart_id as cart_id,
    carts.currency as currency,
    round(carts.total, 2) as total,
    cast(
        arrayMap(
            product -> (
                tupleElement(product, 2), tupleElement(product, 3), tupleElement(product, 4), tupleElement(product, 5),
                tupleElement(product, 6), tupleElement(product, 7), tupleElement(product, 8)
            ),
            carts.ranked
        ),
        'Array({{ ordered_product_type() }})'
    ) as products,
    {{ recommended_with("tupleElement(carts.ranked[1], 2)") }} as recommendations
from carts
where
    carts.last_added_at <= {{ as_of() }} - interval {{ var('abandoned_cart_after_seconds') }} second
    and carts.last_added_at > {{ as_of() }} - interval 2 day
