{{ config(tags=['live']) }}

-- The profiles of a micro-batch: those whose ids it touched and those with a wake-up that came due since the last.
-- depends_on: {{ ref('profile_members') }}
-- depends_on: {{ ref('wakeups') }}
-- depends_on: {{ ref('identity_states') }}
{% if var('evaluation', 'everyone') != 'live' -%}

select
    profile_id,
    id
from {{ ref('profile_members') }}

{%- else -%}

with touched as (

    select id from _touched
    union distinct
    select id
    from {{ ref('wakeups') }}
    where
        due_at > {evaluated_until:DateTime64(3, 'UTC')}
        and due_at <= {{ as_of() }}
        and `partition` % {lane_count:UInt16} = {lane:UInt16}

),

owners as (

    select
        id,
        argMin(other_id, (tied_at, other_id)) as profile_id
    from {{ ref('identity_states') }}
    where direction = 'user_of' and id in (select id from touched)
    group by id

),

profiles as (

    select distinct if(owners.profile_id = '', touched.id, owners.profile_id) as profile_id
    from touched
    left join owners on touched.id = owners.id

),

devices as (

    -- A tied device may belong to somebody who logged in on it earlier.
    select
        id,
        argMin(other_id, (tied_at, other_id)) as profile_id
    from {{ ref('identity_states') }}
    where
        direction = 'user_of'
        and id in (
            select other_id
            from {{ ref('identity_states') }}
            where direction = 'anonymous_of' and id in (select profile_id from profiles)
        )
    group by id

)

select
    profile_id,
    profile_id as id
from profiles
union distinct
select
    profile_id,
    id
from devices
where profile_id in (select profiles.profile_id from profiles)

{%- endif %}
