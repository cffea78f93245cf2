with states as (

    select * from {{ candidate_states(ref('consent_states')) }}

),

addresses as (

    select
        profile_id,
        {{ id_of_address('email', "''") }} as id
    from {{ ref('persons') }}
    where email != ''

),

states_of_addresses as (

    -- Only what these addresses said is read: the table holds everybody's.
    select *
    from {{ ref('consent_states') }}
    where id in (select id from addresses)

),

of_addresses as (

    -- Somebody opted the address out; what it agreed to, nobody has said as this person.
    select
        addresses.profile_id as profile_id,
        states_of_addresses.purpose as purpose,
        states_of_addresses.source as source,
        toDateTime64(0, 3, 'UTC') as agreed_at,
        states_of_addresses.last_refused_at as refused_at
    from states_of_addresses
    inner join addresses on states_of_addresses.id = addresses.id

),

words as (

    select
        states.profile_id as profile_id,
        states.purpose as purpose,
        states.source as source,
        states.last_agreed_at as agreed_at,
        states.last_refused_at as refused_at
    from states
    union all
    select * from of_addresses

)

select
    words.profile_id as profile_id,
    words.purpose as purpose,
    words.source as source,
    max(words.agreed_at) as last_agreed_at,
    max(words.refused_at) as last_refused_at
from words
group by words.profile_id, words.purpose, words.source
