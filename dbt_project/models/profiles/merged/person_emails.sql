with states as (

    select * from {{ candidate_states(ref('email_states')) }}

)

select
    profile_id,
    sum(states.delivered_count) as delivered_count,
    sum(states.open_count) as open_count,
    sum(states.automated_open_count) as automated_open_count,
    sum(states.click_count) as click_count,
    sum(states.automated_click_count) as automated_click_count,
    sum(states.bounce_count) as bounce_count,
    sum(states.complaint_count) as complaint_count,
    max(states.last_opened_at) as last_opened_at,
    max(states.last_clicked_at) as last_clicked_at,
    max(states.last_bounced_at) as last_bounced_at,
    max(states.last_unsubscribed_at) as last_unsubscribed_at
from states
group by profile_id
