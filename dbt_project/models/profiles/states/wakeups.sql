{{
    config(
        engine='MergeTree()',
        order_by='(due_at, trigger_name, id)',
        partition_by='toYYYYMMDD(due_at)',
    )
}}

{%- set triggers = wake_up_triggers() %}

-- Generated from the triggers that declare `wake_after_seconds` and `wake_on` in their YAML.
select
    id,
    partition,
    trigger_name,
    addSeconds(occurred_at, wake_after_seconds) as due_at
from {{ ref('events') }}
array join
    arrayConcat(cast([], 'Array(String)'), [{% for trigger in triggers %}'{{ trigger.name }}'{% if not loop.last %}, {% endif %}{% endfor %}])
        as trigger_name,
    arrayConcat(cast([], 'Array(UInt32)'), [{% for trigger in triggers %}{{ trigger.seconds }}{% if not loop.last %}, {% endif %}{% endfor %}])
        as wake_after_seconds,
    arrayConcat(cast([], 'Array(UInt8)'), [{% for trigger in triggers %}event in ({{ quoted(trigger.events) }}){% if not loop.last %}, {% endif %}{% endfor %}])
        as wakes
where wakes
