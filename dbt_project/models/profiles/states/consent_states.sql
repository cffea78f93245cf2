{{ config(engine='AggregatingMergeTree()', order_by='(id, purpose, source)') }}

-- From landing, not from events: few rows carry consent, and only those are taken apart.
with said as (

    select
        id,
        source,
        event,
        occurred_at,
        JSONExtractString(message, 'properties', 'purpose') as purpose,
        arrayFirst(
            address -> address != '',
            [
                trimBoth(JSONExtractString(message, 'properties', 'email')),
                trimBoth(JSONExtractString(message, 'context', 'traits', 'email')),
                trimBoth(JSONExtractString(message, 'traits', 'email'))
            ]
        ) as address,
        JSONExtractKeysAndValuesRaw(message, 'context', 'consent', 'categoryPreferences') as preferences
    from {{ ref('landing') }}
    where
        status = 'accepted'
        and (event in ({{ opt_outs() }}) or position(message, '"categoryPreferences"') > 0)

),

words as (

    -- A stamp may say no and never yes: what it repeats was stated before.
    select
        source,
        occurred_at,
        arrayJoin(arrayConcat(
            arrayMap(
                preference -> (id, tupleElement(preference, 1), tupleElement(preference, 2) = 'true'),
                arrayFilter(
                    preference
                        -> tupleElement(preference, 2) = 'false'
                        or (tupleElement(preference, 2) = 'true' and event = 'Segment Consent Preference Updated'),
                    preferences
                )
            ),
            arrayMap(
                whose -> (whose, if(purpose != '', purpose, 'marketing'), false),
                if(event in ({{ opt_outs() }}), arrayDistinct([id, {{ id_of_address('address', 'id') }}]), [])
            )
        )) as word
    from said

)

select
    tupleElement(word, 1) as id,
    tupleElement(word, 2) as purpose,
    source,
    maxSimpleState(if(tupleElement(word, 3), occurred_at, toDateTime64(0, 3, 'UTC'))) as last_agreed_at,
    maxSimpleState(if(tupleElement(word, 3), toDateTime64(0, 3, 'UTC'), occurred_at)) as last_refused_at
from words
group by id, purpose, source
