{{ config(tags=['live']) }}

with categories as (

    select
        *,
        -- A purchase after midnight ends the dwell of the day before as well.
        max(last_purchased_at) over (partition by profile_id, category) as ever_purchased_at
    from {{ ref('person_categories') }}

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
        and toDate(ever_purchased_at) < day
        and last_active_at > {{ as_of() }} - interval 6 hour

),

looked_at as (

    select
        profile_id,
        category,
        groupArraySorted(4) ((
            -engaged_seconds, -view_count, product_id, name, price, currency, url, image_url
        )) as ranked
    from {{ ref('person_products') }}
    where toDate(last_viewed_at) >= toDate({{ as_of() }}) - 1
    group by profile_id, category

)

select
    ---------- contract
    dwells.profile_id as profile_id,
    concat(dwells.category, '/', toString(dwells.day)) as occurrence_key,
    dwells.last_active_at as occurred_at,
    dwells.last_active_at + interval 6 hour as expires_at,

    ---------- context
    dwells.category as category,
    toUInt32(intDiv(toUInt64(dwells.engaged_seconds), 60)) as engaged_minutes,
    cast(
        arrayMap(
            product -> (
                tupleElement(product, 3), tupleElement(product, 4), tupleElement(product, 5), tupleElement(product, 6),
                tupleElement(product, 7), tupleElement(product, 8)
            ),
            looked_at.ranked
        ),
        'Array({{ product_type() }})'
    ) as products,
    {{ recommended_with("if(empty(looked_at.ranked), '', tupleElement(looked_at.ranked[1], 3))") }} as recommendations
from dwells
left join looked_at on dwells.profile_id = looked_at.profile_id and dwells.category = looked_at.category
