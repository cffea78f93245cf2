{{ config(materialized='view') }}

-- The first person who logs in on a device keeps the history from before the login.
with owners as (

    select
        id,
        argMin(other_id, (tied_at, other_id)) as profile_id
    from {{ ref('identity_states') }}
    where direction = 'user_of'
    group by id

),

ids as (

    select distinct id from {{ ref('person_states') }}

)

select
    if(owners.profile_id = '', ids.id, owners.profile_id) as profile_id,
    ids.id as id
from ids
left join owners on ids.id = owners.id
