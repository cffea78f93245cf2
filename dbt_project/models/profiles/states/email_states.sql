{{ config(engine='AggregatingMergeTree()', order_by='id') }}

select
    id,
    sumSimpleState(toUInt64(event = 'Email Delivered')) as delivered_count,
    sumSimpleState(toUInt64(event = 'Email Opened' and not is_automated)) as open_count,
    sumSimpleState(toUInt64(event = 'Email Opened' and is_automated)) as automated_open_count,
    sumSimpleState(toUInt64(event = 'Email Link Clicked' and not is_automated)) as click_count,
    sumSimpleState(toUInt64(event = 'Email Link Clicked' and is_automated)) as automated_click_count,
    sumSimpleState(toUInt64(event = 'Email Bounced')) as bounce_count,
    sumSimpleState(toUInt64(event = 'Email Marked as Spam')) as complaint_count,
    maxSimpleState(if(event = 'Email Opened' and not is_automated, occurred_at, toDateTime64(0, 3, 'UTC')))
        as last_opened_at,
    maxSimpleState(if(event = 'Email Link Clicked' and not is_automated, occurred_at, toDateTime64(0, 3, 'UTC')))
        as last_clicked_at,
    maxSimpleState(if(event = 'Email Bounced', occurred_at, toDateTime64(0, 3, 'UTC'))) as last_bounced_at,
    maxSimpleState(if(event in ('Unsubscribed', 'Email Unsubscribed'), occurred_at, toDateTime64(0, 3, 'UTC')))
        as last_unsubscribed_at
from {{ ref('events') }}
where startsWith(event, 'Email ') or event = 'Unsubscribed'
group by id
