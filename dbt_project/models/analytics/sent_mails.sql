with sent as (

    select
        idempotency_key,
        campaign,
        variant,
        ifNull(esp_accepted_at, claimed_at) as sent_at
    from {{ ref('current_sends') }}
    where state = 'sent'

),

-- A report counts once, however often it comes, and only of sources that are believed.
reports as (

    select
        idempotency_key,
        max(event = 'Email Bounced') as is_bounced,
        max(event = 'Email Marked as Spam') as is_complained
    from {{ ref('delivery_reports') }}
    where
        {{ is_trusted('source') }}
        and (event = 'Email Marked as Spam' or (event = 'Email Bounced' and bounce_type != 'soft'))
    group by idempotency_key

)

select
    sent.idempotency_key as idempotency_key,
    sent.campaign as campaign,
    sent.variant as variant,
    sent.sent_at as sent_at,
    reports.is_bounced = 1 as is_bounced,
    reports.is_complained = 1 as is_complained
from sent
left join reports on sent.idempotency_key = reports.idempotency_key
