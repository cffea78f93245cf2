{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        unique_key=['stream', 'partition', 'offset'],
        engine='MergeTree()',
        order_by='(stream, partition, offset)',
        partition_by='toYYYYMM(received_at)',
        on_schema_change='append_new_columns',
    )
}}

-- The adapter looks for new columns only where there is a unique key; nothing is deleted by it.
-- Rows are written by the pipeline, never by dbt: the select is empty and gives the columns. Incremental, because
-- a table model would be rebuilt, and so emptied, at every run.
-- depends_on: {{ source('stream', 'event_stream') }}
select
    ---------- offsets
    cast('', 'LowCardinality(String)') as stream,
    cast(0, 'UInt16') as `partition`,
    cast(0, 'UInt64') as offset,
    cast('', 'String') as position,

    ---------- classification
    cast('', 'LowCardinality(String)') as status,
    cast('', 'LowCardinality(String)') as reason,
    cast(1, 'UInt16') as schema_version,

    ---------- ids
    cast('', 'String') as message_id,
    cast('', 'String') as id,
    cast('', 'String') as user_id,
    cast('', 'String') as anonymous_id,

    ---------- event
    cast('', 'LowCardinality(String)') as type,
    cast('', 'LowCardinality(String)') as event,
    cast('', 'LowCardinality(String)') as source,
    cast('', 'String') as message,

    ---------- timestamps
    cast(0, 'DateTime64(3, \'UTC\')') as occurred_at,
    cast(0, 'DateTime64(3, \'UTC\')') as received_at,
    cast(0, 'DateTime64(3, \'UTC\')') as appended_at,
    cast('', 'String') as sent_at
where 1 = 0
