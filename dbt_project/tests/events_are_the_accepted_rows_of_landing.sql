-- The view chain lost and repeated nothing.
with counts as (

    select
        (select count() from {{ ref('landing') }}
where status = 'accepted' and not {{ is_heartbeat('source') }}) as accepted_count,
        (select count() from {{ ref('events') }}) as event_count,
        (select sum(event_count) from {{ ref('person_states') }}) as counted_in_profiles

)

select *
from counts
where accepted_count != event_count or accepted_count != counted_in_profiles
