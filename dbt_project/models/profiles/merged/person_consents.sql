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

of_addresses as (

    -- Somebody opted the address out; what it agreed to, nobody has said as this person.
    select
        addresses.profile_id as profile_id,
        address_states.purpose as purpose,
        address_states.source as source,
        toDateTime64(0, 3, 'UTC') as agreed_at,
        address_states.last_refused_at as refused_at
    from {{ ref('consent_states') }} as address_states
    inner join addresses on address_states.id = addresses.id
    where address_states.id in (select addresses.id from addresses)

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
