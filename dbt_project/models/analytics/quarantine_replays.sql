{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        unique_key=['stream', 'partition', 'offset'],
        full_refresh=false,
        engine='ReplacingMergeTree(replayed_at)',
        order_by='(stream, partition, offset)',
        on_schema_change='append_new_columns',
    )
}}

-- The adapter looks for new columns only where there is a unique key; nothing is deleted by it.
-- Which rows of quarantine were appended to the stream again. Rows are written by replay_quarantine, never by dbt: the
-- select is empty and gives the columns. Incremental, because a table model would be emptied at every run.
-- depends_on: {{ ref('landing') }}
select
    cast('', 'LowCardinality(String)') as stream,
    cast(0, 'UInt16') as `partition`,
    cast(0, 'UInt64') as offset,
    cast('', 'String') as run_id,
    cast(0, 'DateTime64(3, \'UTC\')') as replayed_at
where 1 = 0
