{{ config(tags=['live']) }}

-- When a lane had reason to look at whom: at an event, and at a wake-up. For a window in the past, live, each moment is
-- the end of a step of the window, so that many people are asked about at once.
-- depends_on: {{ ref('landing') }}
-- depends_on: {{ ref('wakeups') }}
{% if var('evaluation', 'everyone') != 'live' -%}

select
    id,
    received_at as looked_at
from {{ ref('landing') }}
where status = 'accepted' and not {{ is_heartbeat('source') }}
union distinct
select
    id,
    due_at as looked_at
from {{ ref('wakeups') }}
where due_at <= {{ as_of() }}

{%- else -%}

with looks as (

    select
        id,
        received_at as reason_at
    from {{ ref('landing') }}
    where
        status = 'accepted'
        and not {{ is_heartbeat('source') }}
        and received_at >= {begins_at:DateTime64(3, 'UTC')}
        and received_at < {ends_at:DateTime64(3, 'UTC')}
    union all
    select
        id,
        due_at as reason_at
    from {{ ref('wakeups') }}
    where
        due_at >= {begins_at:DateTime64(3, 'UTC')}
        and due_at < {ends_at:DateTime64(3, 'UTC')}

),

steps as (

    select
        id,
        intDiv(dateDiff('millisecond', {begins_at:DateTime64(3, 'UTC')}, reason_at), {step_ms:UInt64}) as step
    from looks

)

select distinct
    id,
    least(
        addMilliseconds({begins_at:DateTime64(3, 'UTC')}, (step + 1) * {step_ms:UInt64}),
        {ends_at:DateTime64(3, 'UTC')}
    ) as looked_at
from steps

{%- endif %}
