{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        unique_key='idempotency_key',
        full_refresh=false,
        engine='ReplacingMergeTree(changed_at_ms)',
        order_by='idempotency_key',
        on_schema_change='append_new_columns',
    )
}}

-- The adapter looks for new columns only where there is a unique key; nothing is deleted by it.
-- A copy of the ledger without addresses, contacts and contexts. Rows are written by the resident run, never by dbt:
-- the select is empty and gives the columns. Incremental, because a table model would be emptied at every run.
-- depends_on: {{ source('ledger', 'ledger_sends') }}
select
    ---------- ids
    cast('', 'String') as idempotency_key,
    cast('', 'LowCardinality(String)') as campaign,
    cast('', 'String') as profile_id,
    cast('', 'String') as provider_id,
    cast([], 'Array(String)') as message_ids,
    cast('', 'String') as run_id,

    ---------- decision
    cast('', 'LowCardinality(String)') as campaign_class,
    cast('', 'LowCardinality(String)') as purpose,
    cast('', 'LowCardinality(String)') as variant,
    cast('', 'LowCardinality(String)') as state,
    cast('', 'LowCardinality(String)') as reason,
    cast('', 'String') as trigger_hash,
    cast('', 'String') as campaign_hash,
    cast('', 'LowCardinality(String)') as esp,

    ---------- numerics
    cast(0, 'Int32') as priority,
    cast(0, 'UInt32') as attempts,

    ---------- timestamps
    cast(0, 'DateTime64(3, \'UTC\')') as occurred_at,
    cast(0, 'DateTime64(3, \'UTC\')') as expires_at,
    cast(null, 'Nullable(DateTime64(3, \'UTC\'))') as next_attempt_at,
    cast(null, 'Nullable(DateTime64(3, \'UTC\'))') as received_at,
    cast(0, 'DateTime64(3, \'UTC\')') as evaluated_at,
    cast(0, 'DateTime64(3, \'UTC\')') as claimed_at,
    cast(null, 'Nullable(DateTime64(3, \'UTC\'))') as esp_accepted_at,
    cast(0, 'UInt64') as changed_at_ms
where 1 = 0
