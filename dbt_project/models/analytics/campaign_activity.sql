{{
    config(
        materialized='materialized_view',
        engine='AggregatingMergeTree()',
        order_by='campaign',
        full_refresh=false,
        on_schema_change='append_new_columns',
    )
}}

select
    campaign,
    minSimpleState(evaluated_at) as first_evaluated_at,
    maxSimpleState(if(state = 'sent', coalesce(esp_accepted_at, claimed_at), toDateTime64(0, 3, 'UTC')))
        as last_sent_at
from {{ ref('sends') }}
group by campaign
