with states as (

    select * from {{ candidate_states(ref('order_states')) }}

)

select
    profile_id,
    order_id,
    max(states.completed_at) as completed_at,
    max(states.cancelled_at) as cancelled_at,
    argMaxMerge(states.latest_total) as total,
    argMaxIfMerge(states.latest_currency) as currency,
    argMaxIfMerge(states.latest_products) as products
from states
group by profile_id, order_id
