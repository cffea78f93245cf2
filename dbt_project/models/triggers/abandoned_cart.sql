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
        groupArraySorted(8)((
            -toUnixTimestamp64Milli(products.last_added_at), products.product_id, products.name, products.price,
            products.currency, products.url, products.image_url, products.cart_quantity
        )) as ranked
    from products
    inner join persons on products.profile_id = persons.profile_id
    where
        products.last_added_at > products.last_removed_at
        and products.last_added_at > persons.last_order_at
    group by products.profile_id

),

abandoned as (

    select
        *,
        ranked[1].2 as lead_product_id
    from carts
    where
        last_added_at <= {{ as_of() }} - interval {{ var('abandoned_cart_after_seconds') }} second
        and last_added_at > {{ as_of() }} - interval 2 day

)

select
    ---------- contract
    abandoned.profile_id as profile_id,
    concat('cart/', if(abandoned.cart_id != '', abandoned.cart_id, toString(toDate(abandoned.first_added_at)))) as occurrence_key,
    abandoned.last_added_at + interval {{ var('abandoned_cart_after_seconds') }} second as occurred_at,
    abandoned.last_added_at + interval {{ var('abandoned_cart_after_seconds') }} second + interval 1 day as expires_at,

    ---------- context
    abandoned.cart_id as cart_id,
    abandoned.currency as currency,
    round(abandoned.total, 2) as total,
    cast(
        arrayMap(
            product -> (product.2, product.3, product.4, product.5, product.6, product.7, product.8), abandoned.ranked
        ),
        'Array({{ ordered_product_type() }})'
    ) as products,
    {{ recommended_or_bestsellers('related.recommended') }} as recommendations
from abandoned
left join {{ recommendations_for('select lead_product_id from abandoned') }} as related
    on abandoned.lead_product_id = related.product_id
