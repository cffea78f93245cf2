{{
    config(
        engine='MergeTree()',
        order_by='(due_at, trigger_name, id)',
        partition_by='toYYYYMMDD(due_at)',
    )
}}

-- Generated from the triggers that declare `wake_after_seconds` and `wake_on` in their YAML.
select
    id,
    `partition`,
    trigger_name,
    addSeconds(occurred_at, wake_after_seconds) as due_at
from {{ ref('events') }}
array join
    {{ wake_up_arrays() }}
where wakes  -- noqa: PRS,AL02
