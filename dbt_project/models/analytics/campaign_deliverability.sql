with delivered as (

    select distinct idempotency_key
    from {{ ref('delivery_reports') }}
    where {{ is_trusted('source') }} and event = 'Email Delivered'

),

mails as (

    select
        *,
        idempotency_key in (select idempotency_key from delivered) as is_delivered
    from {{ ref('sent_mails') }}

)

select
    campaign,
    toStartOfHour(sent_at) as sent_hour,
    count() as sent_count,
    sum(is_delivered) as delivered_count,
    sum(is_bounced) as bounced_count,
    sum(is_complained) as complained_count
from mails
group by campaign, sent_hour
