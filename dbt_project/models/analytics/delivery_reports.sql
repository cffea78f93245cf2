{{
    config(
        materialized='materialized_view',
        engine='MergeTree()',
        order_by='(event, idempotency_key)',
        partition_by='toYYYYMM(received_at)',
        full_refresh=false,
        on_schema_change='append_new_columns',
        settings={
            'non_replicated_deduplication_window': 10000,
            'replicated_deduplication_window': 10000,
        },
    )
}}

-- From landing: few events are reports of mails, and only those are taken apart.
select
    ---------- ids
    JSONExtractString(message, 'properties', 'idempotency_key') as idempotency_key,
    message_id,

    ---------- report
    event,
    source,
    JSONExtractString(message, 'properties', 'campaign') as campaign,
    JSONExtractString(message, 'properties', 'bounce_type') as bounce_type,

    ---------- timestamps
    occurred_at,
    received_at
from {{ ref('landing') }}
where
    status = 'accepted'
    and event in ('Email Delivered', 'Email Bounced', 'Email Marked as Spam')
