with states as (

    select * from {{ candidate_states(ref('person_states')) }}

)

select
    profile_id,
    min(states.first_seen_at) as first_seen_at,
    max(states.last_seen_at) as last_seen_at,
    sum(states.event_count) as event_count,
    max(states.last_order_at) as last_order_at,
    argMaxIfMerge(states.latest_email) as email,
    argMaxIfMerge(states.latest_first_name) as first_name,
    argMaxIfMerge(states.latest_last_name) as last_name,
    argMaxIfMerge(states.latest_timezone) as timezone,
    argMaxIfMerge(states.latest_cart_id) as cart_id
from states
group by profile_id
