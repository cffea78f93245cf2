with states as (

    select * from {{ candidate_states(ref('session_states')) }}

)

select
    profile_id,
    session_id,
    min(states.started_at) as started_at,
    max(states.last_active_at) as last_active_at,
    sum(states.event_count) as event_count,
    sum(states.page_count) as page_count,
    sum(states.engaged_ms) / 1000 as engaged_seconds,
    max(states.max_scroll_depth_percent) as max_scroll_depth_percent,
    max(states.last_order_at) as last_order_at
from states
group by profile_id, session_id
