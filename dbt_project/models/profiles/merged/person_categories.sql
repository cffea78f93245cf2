with states as (

    select * from {{ candidate_states(ref('category_states')) }}

)

select
    profile_id,
    category,
    day,
    sum(states.engaged_ms) / 1000 as engaged_seconds,
    sum(states.view_count) as view_count,
    max(states.last_active_at) as last_active_at,
    max(states.last_purchased_at) as last_purchased_at
from states
group by profile_id, category, day
