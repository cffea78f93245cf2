{{ config(engine='Join(ANY, LEFT, product_id)') }}

{%- set how_many = var('recommendations_per_product') %}

with products as (

    select
        *,
        cast((product_id, name, price, currency, url, image_url), '{{ product_type() }}') as card
    from {{ ref('products') }}

),

interests as (

    -- The twenty products somebody was last active on: more say little and cost the square.
    select
        id,
        product_id,
        max(last_active_at) as active_at
    from {{ ref('product_states') }}
    group by id, product_id
    order by id asc, active_at desc, product_id asc
    limit 20 by id

),

pairs as (

    select
        one.product_id as product_id,
        other.product_id as other_product_id,
        count() as together_count
    from interests as one
    inner join interests as other on one.id = other.id
    where one.product_id != other.product_id
    group by product_id, other_product_id

),

co_viewed as (

    select
        pairs.product_id as product_id,
        groupArraySorted({{ how_many }}) ((-pairs.together_count, pairs.other_product_id, products.card)) as ranked
    from pairs
    inner join products on pairs.other_product_id = products.product_id
    group by pairs.product_id

),

bestsellers as (

    select
        groupArraySorted({{ how_many * 2 }}) ((-purchased_quantity, -view_count, product_id, card)) as ranked
    from products

),

every_product as (

    select product_id from products
    union all
    select '' as product_id

)

-- The row with the empty product id is the fallback for products nobody has looked at together with others.
select
    every_product.product_id as product_id,
    arraySlice(
        arrayDistinct(
            arrayConcat(
                arrayMap(product -> tupleElement(product, 3), co_viewed.ranked),
                arrayFilter(
                    card -> tupleElement(card, 1) != every_product.product_id,
                    arrayMap(product -> tupleElement(product, 4), bestsellers.ranked)
                )
            )
        ),
        1, {{ how_many }}
    ) as recommended
from every_product
cross join bestsellers
left join co_viewed on every_product.product_id = co_viewed.product_id
