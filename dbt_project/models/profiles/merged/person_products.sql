with states as (

    select * from {{ candidate_states(ref('product_states')) }}

)

select
    profile_id,
    product_id,
    sum(states.engaged_ms) / 1000 as engaged_seconds,
    sum(states.view_count) as view_count,
    sum(states.purchased_quantity) as purchased_quantity,
    max(states.last_active_at) as last_active_at,
    max(states.last_viewed_at) as last_viewed_at,
    max(states.last_added_at) as last_added_at,
    max(states.last_removed_at) as last_removed_at,
    max(states.last_purchased_at) as last_purchased_at,
    argMaxIfMerge(states.latest_cart_quantity) as cart_quantity,
    argMaxIfMerge(states.latest_name) as name,
    argMaxIfMerge(states.latest_category) as category,
    argMaxIfMerge(states.latest_price) as price,
    argMaxIfMerge(states.latest_currency) as currency,
    argMaxIfMerge(states.latest_url) as url,
    argMaxIfMerge(states.latest_image_url) as image_url
from states
group by profile_id, product_id
