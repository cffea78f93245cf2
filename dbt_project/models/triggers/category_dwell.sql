{{ config(tags=['live']) }}

with categories as (

    select * from {{ ref('person_categories') }}

),

dwells as (

    -- A window is a calendar day (UTC): engaged time in it only grows, so events may come in any order.
    select
        profile_id,
        category,
        day,
        engaged_seconds,
        last_active_at
    from categories
    where
        engaged_seconds > {{ var('category_dwell_minutes') }} * 60
        and toDate(last_purchased_at) < day
        and last_active_at > {{ as_of() }} - interval 6 hour

),

looked_at as (

    select
        profile_id,
        category,
        groupArraySorted(4)((
            -engaged_seconds, -view_count, product_id, name, price, currency, url, image_url
        )) as ranked
    from {{ ref('person_products') }}
    where toDate(last_viewed_at) >= toDate({{ as_of() }}) - 1
    group by profile_id, category

),

fired as (

    select
        dwells.*,
        looked_at.ranked as ranked,
        if(empty(looked_at.ranked), '', looked_at.ranked[1].3) as lead_product_id
    from dwells
    left join looked_at on dwells.profile_id = looked_at.profile_id and dwells.category = looked_at.category

)

select
    ---------- contract
    fired.profile_id as profile_id,
    concat(fired.category, '/', toString(fired.day)) as occurrence_key,
    fired.last_active_at as occurred_at,
    fired.last_active_at + interval 6 hour as expires_at,

    ---------- context
    fired.category as category,
    toUInt32(intDiv(toUInt64(fired.engaged_seconds), 60)) as engaged_minutes,
    cast(
        arrayMap(product -> (product.3, product.4, product.5, product.6, product.7, product.8), fired.ranked),
        'Array({{ product_type() }})'
    ) as products,
    {{ recommended_or_bestsellers('related.recommended') }} as recommendations
from fired
left join {{ recommendations_for('select lead_product_id from fired') }} as related
    on fired.lead_product_id = related.product_id
