{{ config(engine='AggregatingMergeTree()', order_by='(id, direction, other_id)') }}

-- Each tie between a device and a person is kept in both directions, so that either end finds the other by key.
with ties as (

    select
        arrayJoin(['user_of', 'anonymous_of']) as direction,
        concat('user:', user_id) as user_key,
        concat('anonymous:', anonymous_id) as anonymous_key,
        occurred_at
    from {{ ref('events') }}
    where user_id != '' and anonymous_id != ''

)

select
    if(direction = 'user_of', anonymous_key, user_key) as id,
    direction,
    if(direction = 'user_of', user_key, anonymous_key) as other_id,
    minSimpleState(occurred_at) as tied_at
from ties
group by id, direction, other_id
