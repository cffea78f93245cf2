{{ config(tags=['live']) }}

with consents as (

    select *
    from {{ ref('person_consents') }}
    {% if not var('double_opt_in', {}) -%}
    where false
    {%- endif %}

),

words as (

    select
        profile_id,
        purpose,
        maxIf(last_agreed_at, {{ asks_for_confirmation('source', 'purpose') }}) as asked_at,
        -- Said where a yes counts at once: in the mail that asks, for one.
        maxIf(last_agreed_at, not {{ asks_for_confirmation('source', 'purpose') }}) as confirmed_at,
        max(last_refused_at) as refused_at
    from consents
    group by profile_id, purpose

)

select
    ---------- contract
    profile_id,
    -- An hour of the clock: whoever changes their mind back and forth, or is signed up over and over, gets one mail.
    concat(purpose, '/', formatDateTime(asked_at, '%Y-%m-%dT%H')) as occurrence_key,
    asked_at as occurred_at,
    asked_at + interval 3 day as expires_at,

    ---------- context
    purpose
from words
where
    asked_at > refused_at
    and confirmed_at <= refused_at
    and asked_at > {{ as_of() }} - interval 3 day
