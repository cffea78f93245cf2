{{
    config(
        materialized='materialized_view',
        engine='ReplacingMergeTree(changed_at_ms)',
        order_by='(received_minute, idempotency_key)',
        partition_by='toYYYYMM(received_minute)',
        full_refresh=false,
        on_schema_change='append_new_columns',
    )
}}

-- The sends that an event caused, by when it came: of the latest ones few rows are read, however many there are.
select
    toStartOfMinute(assumeNotNull(received_at)) as received_minute,
    idempotency_key,
    campaign,
    state,
    -- Quiet hours, a better mail or a hold put it off: that is no slowness.
    attempts = 1 and claimed_at > evaluated_at + interval 1 minute as has_waited,
    assumeNotNull(received_at) as received_at,
    esp_accepted_at,
    changed_at_ms
from {{ ref('sends') }}
where received_at is not null
